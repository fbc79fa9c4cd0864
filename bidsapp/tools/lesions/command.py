"""``brainseg lesion``: lesions of one image, or of many patients."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ....interfaces.io import files
from ....models.data import model_files
from ....models.errors import InputError, MissingFileError, UsageError
from ....models.geometry.volume import Volume, resample
from ....models.io import atomic
from ....models.io.images import open_image
from ....models.networks import purpose
from ....models.segmentation import lesion
from ....models.segmentation.own.inputs import specification
from ....training.data import tiff_slices
from .. import pictures
from ..compute import device, set_threads
from .cases import Patient, find, load

COLUMNS = ("patient", "lesions", "volume_ml", "largest_ml", "probability", "dice", "reference_ml", "notes")
"""Columns of the table."""


def run(args: argparse.Namespace) -> int:
    """Segment the lesions of one patient or of all in a folder; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg lesion``.

    Raises
    ------
    UsageError
        If the arguments do not fit each other or the input.
    """
    source, out = Path(args.image), Path(args.out)
    patients = find(source)
    many = source.is_dir() and patients[0].path != source
    _check(args, patients, many=many)
    card, own = _network(args.model)
    if str(card.get("license", "")).lower().startswith("research"):
        print(f"note: the network {args.model}: {card['license']}", file=sys.stderr)
    set_threads(args)
    table = Path(args.table) if args.table else (out / "lesions.tsv" if many else None)
    overlays = Path(args.overlays) if args.overlays else (out / "overlays" if many else None)
    code, rows = 0, []
    for patient in patients:
        target = out / patient.out_name if many else out
        try:
            rows.append(_segment(patient, target, args, card, own=own, overlays=overlays))
        except InputError as error:
            if not many:
                raise
            print(error, file=sys.stderr)
            rows.append((patient.name, *["n/a"] * (len(COLUMNS) - 2), error.reason))
            code = error.exit_code
    if table is not None:
        files.write_table(table, COLUMNS, rows)
    _chart(args, out, rows, many=many)
    return code


def _check(args: argparse.Namespace, patients: list[Patient], *, many: bool) -> None:
    """Refuse arguments that do not fit the input."""
    slices = bool(patients[0].slices)
    one = {"--brain-mask": args.brain_mask, "--with": args.further}
    if given := [name for name, there in one.items() if there and (many or slices)]:
        what = "a folder of slices" if slices else "a folder"
        raise UsageError(args.image, f"{given[0]} is for one image, and IN is {what}", f"Omit {given[0]}")
    if not many and not slices and not args.out.endswith((".nii", ".nii.gz")):
        raise UsageError(args.out, "the output of one image is a NIfTI file", "End its name with .nii.gz")
    inside = Path(args.out).resolve()
    if inside == Path(args.image).resolve():
        raise UsageError(args.out, "the output is the input itself: masks would be lost", "Give another name")
    if not 0 < args.threshold < 1:
        raise UsageError(None, f"--threshold {args.threshold} is no probability", "Give one between 0 and 1")


def _network(name: str) -> tuple[dict[str, Any], bool]:
    """Return the card of a network, and whether it was trained on images with labels of a user."""
    try:
        card = purpose.check(name, "lesion")
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    return card, purpose.kind_of(card) == purpose.SUPERVISED


def _segment(
    patient: Patient,
    target: Path,
    args: argparse.Namespace,
    card: dict[str, Any],
    *,
    own: bool,
    overlays: Path | None,
) -> tuple[Any, ...]:
    """Segment the lesions of a patient, write mask and figure, and return the row of the table."""
    wanted = specification(card)["contrasts"] if own else ["FLAIR"]
    loaded = load(
        patient,
        wanted,
        own=own,
        channel=args.channel,
        further=args.further,
        brain=args.brain_mask,
        device=device(args),
    )
    first, *others = loaded.images
    result = lesion.find(
        first,
        loaded.brain,
        others=others,
        device=device(args),
        model=args.model,
        threshold=args.threshold,
    )
    mask, found = result.mask.data.numpy(), result.lesions
    if args.largest and len(found) > 1:
        mask, found = lesion.largest(mask), found[:1]
    _write(patient, target, mask, first)
    truth = _truth(patient, first)
    if overlays is not None:
        _draw(patient, overlays, first, mask, truth)
    notes = [*loaded.notes, *result.notes]
    if patient.path.name.split(".nii")[0].endswith("_T2w"):
        notes.append("CSF is bright in T2w images too; brainseg-bids --steps lesion leaves it out")
    row = _row(patient.name, mask, found, truth, first, notes)
    dice = f", Dice {row[5]}" if row[5] != "n/a" else ""
    for note in notes:
        print(f"note: {patient.name}: {note}", file=sys.stderr)
    print(f"{patient.name}: {row[1]} lesions, {row[2]} mL{dice} ({target})", flush=True)
    return row


def _write(patient: Patient, target: Path, mask: np.ndarray, scan: Volume) -> None:
    if patient.slices:
        tiff_slices.write_masks(mask, patient.slices, target)
        return
    source = open_image(patient.path)
    affine, code = files.own_affine(source, scan.affine), files.geometry_code(source)
    files.write_image(target, mask.astype(np.uint8), affine, code)


def _truth(patient: Patient, scan: Volume) -> np.ndarray | None:
    """Return the given lesion mask on the grid of the image."""
    given = patient.truth()
    if given is None:
        return None
    if patient.slices:
        return given.data.numpy() > 0
    return (resample(given.with_data((given.data > 0).float()), scan.grid).data > 0.5).numpy()


def _draw(patient: Patient, folder: Path, scan: Volume, mask: np.ndarray, truth: np.ndarray | None) -> None:
    def upright(data: np.ndarray) -> np.ndarray:
        return scan.with_data(scan.data.new_tensor(data)).canonical().data.numpy()

    canonical = scan.canonical()
    figure = pictures.overlay(
        canonical.data.numpy(),
        upright(mask),
        None if truth is None else upright(truth),
        canonical.grid.spacing,
    )
    with atomic.replacing(folder / f"{patient.name}.png", keep_extension=True) as temporary:
        figure.save(temporary)


def _row(
    name: str,
    mask: np.ndarray,
    found: list[lesion.Lesion],
    truth: np.ndarray | None,
    scan: Volume,
    notes: list[str],
) -> tuple[Any, ...]:
    voxel = scan.grid.voxel_volume / 1000
    volumes = [one.volume / 1000 for one in found]
    mean = sum(one.probability * one.volume for one in found) / max(sum(one.volume for one in found), 1e-9)
    cells: tuple[Any, ...] = (name, len(found), f"{sum(volumes):.2f}", f"{max(volumes, default=0):.2f}")
    cells += (f"{mean:.2f}" if found else "n/a",)
    if truth is None:
        return (*cells, "n/a", "n/a", "; ".join(notes))
    size = int(truth.sum()) + int((mask > 0).sum())
    # A patient without lesions who is found to have none is right.
    dice = 2 * int((truth & (mask > 0)).sum()) / size if size else 1.0
    return (*cells, f"{dice:.4f}", f"{truth.sum() * voxel:.2f}", "; ".join(notes))


def _chart(args: argparse.Namespace, out: Path, rows: list[tuple[Any, ...]], *, many: bool) -> None:
    """Print the mean Dice and draw a bar chart, where there are masks."""
    scores = {str(row[0]): float(row[5]) for row in rows if row[5] != "n/a"}
    if not scores:
        if args.chart:
            print(f"note: no patient has a mask to compare with: no {args.chart}", file=sys.stderr)
        return
    if many:
        values = list(scores.values())
        print(f"Dice: mean {np.mean(values):.4f}, median {np.median(values):.4f} of {len(values)} patients")
    if args.chart or many:
        pictures.chart(scores, Path(args.chart) if args.chart else out / "dice.png")
