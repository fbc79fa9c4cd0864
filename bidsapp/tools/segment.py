"""``brainseg segment``: the structures of one scan, or of all scans in a folder."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ...interfaces import own_labels
from ...interfaces.io import derivatives, files
from ...models.data import model_files
from ...models.errors import InputError, MissingFileError, UsageError
from ...models.geometry.volume import Volume
from ...models.io.folders import IMAGES, files_below
from ...models.io.images import open_image
from ...models.pipeline import process
from ...models.pipeline.process import with_network
from ...models.population import populations
from ...models.segmentation.result import posteriors_on, source_words
from ..execution import licenses
from . import scans
from .compute import device


def run(args: argparse.Namespace) -> int:
    """Segment a scan, or all scans in a folder; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg segment``.
    """
    licenses.print_note(args)
    return _segment_folder(args) if Path(args.image).is_dir() else _segment(args)


def _segment_folder(args: argparse.Namespace) -> int:
    """Segment all scans in a folder; one failure does not stop the others."""
    folder, out = Path(args.image), Path(args.out)
    if args.volumes or args.posteriors:
        raise UsageError(folder, "--volumes and --posteriors are for one image", "Give one file")
    images = files_below(folder, *IMAGES)
    inputs = [p for p in images if out.resolve() not in p.resolve().parents]
    wanted = [p for p in inputs if "_dseg" not in p.name and "_mask" not in p.name]
    if not wanted:
        raise UsageError(folder, "the folder has no images (.nii, .nii.gz)", "Give another folder")
    code = 0
    for path in wanted:
        one = argparse.Namespace(**vars(args) | {"image": str(path)})
        stem = path.name.split(".nii")[0]
        one.out = str(out / path.relative_to(folder).parent / f"{stem}_dseg.nii.gz")
        try:
            _segment(one)
        except InputError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
    return code


def _segment(args: argparse.Namespace) -> int:
    """Segment one scan."""
    wanted = {"effort": args.effort != "fast", "posteriors": bool(args.posteriors)}
    populations.check_options(populations.load(args.population), (name for name in wanted if wanted[name]))
    if own := _own_labels(args):
        return _segment_own(args, own)
    table = _label_table(args)
    scan = scans.read(args)
    try:
        done = process.process(
            scan,
            args.population,
            skull_strip=args.skull_strip,
            effort=args.effort,
            label_table=table,
            model=args.model,
            device=device(args),
            progress=lambda stage: print(stage, file=sys.stderr),
        )
    except InputError as error:
        raise InputError(error.path or args.image, error.reason, error.remedy) from None
    result = done.segmentation
    structures = result.structures.data.numpy().astype("int16")
    scans.write(structures, scan, args)
    if args.volumes:
        _write_volumes(Path(args.volumes), result, structures, done.brain.mask, table)
    if args.posteriors:
        _write_posteriors(Path(args.posteriors), result, scan, args)
    for note in done.notes:
        print(f"note: {note}")
    count = len(set(structures.ravel().tolist()) - {0})
    print(f"{args.out}: {count} structures; brain mask: {source_words(done.brain.source)}")
    return 0


def _own_labels(args: argparse.Namespace) -> str:
    """Return the network of ``--model`` if it has labels of its own; empty otherwise."""
    if not args.model:
        return ""
    try:
        return with_network(populations.load(args.population), args.model).own_labels
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None


def _segment_own(args: argparse.Namespace, model: str) -> int:
    """Segment the labels of a network of the user in one scan."""
    refused = {"--posteriors": args.posteriors, "--effort accurate": args.effort != "fast"}
    refused["--corpus-callosum"] = args.corpus_callosum
    if given := [flag for flag, there in refused.items() if there]:
        reason = f"{given[0]} is not for networks with labels of their own"
        raise UsageError(args.model, reason, f"Leave {given[0]} out")
    scan = scans.read(args)
    try:
        brain, found = process.own_labels(
            scan,
            args.population,
            model=model,
            skull_strip=args.skull_strip,
            device=device(args),
            progress=lambda stage: print(stage, file=sys.stderr),
        )
    except InputError as error:
        raise InputError(error.path or args.image, error.reason, error.remedy) from None
    labeled = found.labels.data.numpy()
    scans.write(labeled, scan, args)
    if args.volumes:
        soft = {str(index): volume for index, volume in found.volumes.items()}
        rows = own_labels.volume_rows(model, soft, labeled, scan.grid.voxel_volume)
        _write_csv(Path(args.volumes), list(own_labels.COLUMNS), rows)
    for note in [*brain.notes, *found.notes]:
        print(f"note: {note}")
    count = len(set(labeled.ravel().tolist()) - {0})
    print(f"{args.out}: {count} labels; brain mask: {source_words(brain.source)}")
    return 0


def _label_table(args: argparse.Namespace) -> str:
    """Return the label table: the population's, or the finer one of ``--corpus-callosum``."""
    record = populations.load(args.population)
    try:
        finest = model_files.read_card(args.model or record.segmentation).get("label_table", record.labels)
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    if args.corpus_callosum and record.parts.get("corpuscallosum") != finest:
        reason = f"this network does not segment the corpus callosum of {record.name} brains"
        raise UsageError(None, reason, "Omit --corpus-callosum")
    coarser = finest in record.parts.values() and not args.corpus_callosum
    return record.labels if coarser else finest


def _write_volumes(path: Path, result: Any, structures: np.ndarray, mask: Volume, table: str) -> None:
    """Write the volumes of the structures as CSV."""
    rows = derivatives.volume_rows(
        result.volumes,
        structures,
        mask.data.numpy(),
        mask.grid.voxel_volume,
        table,
        uncertainty=result.uncertainty,
        intervals=result.intervals,
    )
    _write_csv(path, list(derivatives.VOLUME_COLUMNS), rows)


def _write_csv(path: Path, columns: list[str], rows: list[Any]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def _write_posteriors(path: Path, result: Any, scan: Volume, args: argparse.Namespace) -> None:
    """Write probabilities on the grid of the scan (4-D), and the names of the structures as JSON."""
    indices, names, data = posteriors_on(scan, result)
    source = open_image(args.image)
    files.write_image(path, data, files.own_affine(source, scan.affine), files.geometry_code(source))
    description = "Probabilities of structures, both hemispheres together"
    content = {"Description": description, "Index": indices, "Name": names}
    files.write_json(path.with_name(path.name.split(".nii")[0] + ".json"), content)
