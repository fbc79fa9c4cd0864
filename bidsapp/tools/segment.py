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
    """Segment a scan, several, or all scans in a folder; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg segment``.
    """
    licenses.print_note(args)
    images = [Path(text) for text in args.image]
    if len(images) == 1 and not images[0].is_dir():
        args.image = args.image[0]
        return _segment(args)
    for name in ("volumes", "posteriors", "tissues"):
        if getattr(args, name):
            raise UsageError(images[0], f"--{name} is for one image", "Give one file")
    if args.out.endswith((".nii", ".nii.gz")):
        raise UsageError(args.out, "several scans are segmented into a folder", "Give OUT without .nii.gz")
    return _segment_all(args, _in_folder(images[0], Path(args.out)) if len(images) == 1 else _listed(images))


def _in_folder(folder: Path, out: Path) -> dict[str, Path]:
    """Return the scans in a folder by the names of the segmentations, relative to the results."""
    images = files_below(folder, *IMAGES)
    inputs = [p for p in images if out.resolve() not in p.resolve().parents]
    wanted = [p for p in inputs if "_dseg" not in p.name and "_mask" not in p.name]
    if not wanted:
        raise UsageError(folder, "the folder has no images (.nii, .nii.gz)", "Give another folder")
    return {str(path.relative_to(folder).parent / _segmented(path)): path for path in wanted}


def _listed(images: list[Path]) -> dict[str, Path]:
    """Return several scans by the names of their segmentations."""
    found: dict[str, Path] = {}
    for path in images:
        if path.is_dir():
            raise UsageError(path, "it is a folder beside other scans", "Give files, or one folder")
        if found.setdefault(_segmented(path), path) != path:
            reason = f"it has the name of {found[_segmented(path)]}"
            raise UsageError(path, reason, "Give one after the other, with another OUT")
    return found


def _segmented(path: Path) -> str:
    return f"{path.name.split('.nii')[0].removesuffix('.mgz')}_dseg.nii.gz"


def _segment_all(args: argparse.Namespace, scans_by_name: dict[str, Path]) -> int:
    """Segment several scans; one failure does not stop the others."""
    code = 0
    for name, path in scans_by_name.items():
        one = argparse.Namespace(**vars(args) | {"image": str(path), "out": str(Path(args.out) / name)})
        try:
            _segment(one)
        except InputError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
    return code


def _segment(args: argparse.Namespace) -> int:
    """Segment one scan."""
    if own := _own_labels(args):
        return _segment_own(args, own)
    wanted = {"effort": args.effort != "fast", "posteriors": bool(args.posteriors)}
    populations.check_options(populations.load(args.population), (name for name in wanted if wanted[name]))
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
    if args.tissues:
        scans.write(result.tissue.data.numpy().astype("uint8"), scan, args, args.tissues)
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
    refused = {"--posteriors": args.posteriors, "--corpus-callosum": args.corpus_callosum}
    if given := [flag for flag, there in refused.items() if there]:
        reason = f"{given[0]} is not for networks with labels of their own"
        raise UsageError(args.model, reason, f"Leave {given[0]} out")
    if args.tissues and not own_labels.has_tissues(model):
        reason = "its labels have no gray and white matter, so there are no tissues"
        raise UsageError(model, reason, "Omit --tissues")
    scan = scans.read(args)
    try:
        brain, found = process.own_labels(
            scan,
            args.population,
            model=model,
            skull_strip=args.skull_strip,
            effort=args.effort,
            device=device(args),
            progress=lambda stage: print(stage, file=sys.stderr),
        )
    except InputError as error:
        raise InputError(error.path or args.image, error.reason, error.remedy) from None
    labeled = found.labels.data.numpy()
    scans.write(labeled, scan, args)
    if found.dseg is not None and args.tissues:
        scans.write(found.dseg.data.numpy().astype("uint8"), scan, args, args.tissues)
        print(f"note: {args.tissues}: 1 gray matter, 2 white matter, 3 CSF")
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
