"""``brainseg segment``: the structures of one scan, or of all scans in a folder."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ...interfaces.io import derivatives, files
from ...models.errors import InputError, MissingFileError, UsageError
from ...models.geometry.volume import Volume
from ...models.networks import zoo
from ...models.population import populations
from ...models.preprocessing import bias, thick_slices
from ...models.segmentation import segmentation
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
    licenses.tell(args)
    return _segment_folder(args) if Path(args.image).is_dir() else _segment(args)


def _segment_folder(args: argparse.Namespace) -> int:
    """Segment all scans in a folder; one failure does not stop the others."""
    folder, out = Path(args.image), Path(args.out)
    if args.volumes or args.posteriors:
        raise UsageError(folder, "--volumes and --posteriors are for one image", "Give one file")
    images = sorted(p for p in folder.rglob("*.nii*") if p.name.endswith((".nii", ".nii.gz")))
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
    scan = scans.read(args)
    _refuse_stack(args)
    options = _options(args)
    found = scans.strip(scan, args)
    print("bias correction", file=sys.stderr)
    corrected, _ = bias.correct(scan, found.mask)
    print("segmentation", file=sys.stderr)
    result = segmentation.segment(corrected, found.mask, device=device(args), **options)
    structures = result.structures.data.numpy().astype("int16")
    scans.write(structures, args)
    if args.volumes:
        _write_volumes(Path(args.volumes), result, structures, found.mask, options["label_table"])
    if args.posteriors:
        _write_posteriors(Path(args.posteriors), result, scan, args)
    for note in result.notes:
        print(f"note: {note}")
    print(f"{args.out}: {len(set(structures.ravel().tolist()) - {0})} structures")
    return 0


def _refuse_stack(args: argparse.Namespace) -> None:
    """Stop before a stack of thick slices that the networks of the population were not trained for.

    Whether another network (``--model``) was trained for such stacks is not known.
    """
    why = None if args.model else thick_slices.coarseness(args.image, populations.load(args.population))
    if why:
        remedy = f"{thick_slices.REMEDY}; brainseg skullstrip --mask finds the brain in the stack"
        raise InputError(args.image, f"it is a {why}", remedy)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the networks, the label table and the effort of the segmentation."""
    record = populations.load(args.population)
    out: dict[str, Any] = {"model": record.segmentation, "coarse_model": record.coarse}
    out |= {"accurate": True} if args.effort == "accurate" else {}
    out["label_table"] = _label_table(args)
    if args.model:
        try:
            card = zoo.load(args.model).card
        except zoo.ModelError as error:
            raise MissingFileError(None, str(error), "See brainseg models list") from None
        out["model"] = args.model
        if card.get("coarse"):
            out["coarse_model"] = card["coarse"]
    return out


def _label_table(args: argparse.Namespace) -> str:
    """Return the label table: the population's, or the finer one of ``--corpus-callosum``."""
    record = populations.load(args.population)
    try:
        finest = zoo.read_card(args.model or record.segmentation).get("label_table", record.labels)
    except zoo.ModelError as error:
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
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(derivatives.VOLUME_COLUMNS))
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def _write_posteriors(path: Path, result: Any, scan: Volume, args: argparse.Namespace) -> None:
    """Write probabilities on the grid of the scan (4-D), and the names of the structures as JSON."""
    indices, names, data = segmentation.posteriors_on(scan, result)
    source = nib.load(args.image)
    files.write_image(path, data, np.asarray(source.affine), files.geometry_code(source))
    description = "Probabilities of structures, both hemispheres together"
    content = {"Description": description, "Index": indices, "Name": names}
    files.write_json(path.with_name(path.name.split(".nii")[0] + ".json"), content)
