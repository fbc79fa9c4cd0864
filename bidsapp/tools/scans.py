"""What skull-stripping and segmentation of single files share: read, skull-strip and write a scan."""

from __future__ import annotations

import argparse
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib

from ...interfaces.io import files
from ...models.errors import InputError, UsageError
from ...models.geometry.volume import Volume
from ...models.io.images import open_image
from ...models.localization import upright
from ...models.preprocessing import scan as scan_reader
from ...models.segmentation import skullstrip
from ...models.segmentation.result import SkullStripResult
from ..config import orientation
from .compute import device, set_threads


def read(args: argparse.Namespace) -> Volume:
    """Return the scan, after checking that all outputs can be written.

    Raises
    ------
    UsageError
        If an output is not a NIfTI file, is the input or cannot be written.
    InputError
        If the scan cannot be read.
    """
    out = Path(args.out)
    if not out.name.endswith((".nii", ".nii.gz")):
        raise UsageError(out, "the output must be a NIfTI file", "End its name with .nii.gz")
    if out.resolve() == Path(args.image).resolve():
        raise UsageError(out, "the output is the input itself", "Give another name")
    others = (getattr(args, name, None) for name in ("volumes", "posteriors", "tissues"))
    for path in filter(None, (out, *others)):
        _check_folder(Path(path).absolute().parent)
    set_threads(args)
    scan = read_noted(args.image)
    if how := orientation.codes(args.reorient):
        model = skullstrip.upright_model(args.population)
        scan, change = upright.correct(scan, how, model=model, device=device(args))
        note = change.note if change is not None else "The orientation in the header fits the head."
        print(f"note: {Path(args.image).name}: {note}", file=sys.stderr)
    return scan


def _check_folder(folder: Path) -> None:
    """Make the folder of an output, and check that a file can be written in it."""
    probe = folder / f".brainseg-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        reason = f"the folder cannot be written ({error.strerror})"
        raise UsageError(folder, reason, "Give another one") from None
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def read_noted(path: str | Path, **options: Any) -> Volume:
    """Return a scan, and print notes on what was guessed or replaced to read it.

    Parameters
    ----------
    path : str or Path
        The scan.
    **options
        Further arguments of :func:`brainseg.models.preprocessing.scan.read`.
    """
    notes: list[str] = []
    scan = scan_reader.read(path, notes=notes, **options)
    for note in notes:
        print(f"note: {Path(path).name}: {note}", file=sys.stderr)
    return scan


def strip(scan: Volume, args: argparse.Namespace) -> SkullStripResult:
    """Return the brain mask of a scan, found by the networks of the population.

    Raises
    ------
    InputError
        If there is no plausible brain in it.
    """
    print("skull-stripping", file=sys.stderr)
    try:
        return skullstrip.skullstrip(scan, args.population, mode=args.skull_strip, device=device(args))
    except InputError as error:
        raise type(error)(error.path or args.image, error.reason, error.remedy) from None


def write(data: Any, scan: Volume, args: argparse.Namespace, path: str = "") -> None:
    """Write an array (x, y, z) to OUT, or to another file, with the geometry of the scan."""
    source, out = open_image(args.image), Path(path or args.out)
    affine, code = files.own_affine(source, scan.affine), files.geometry_code(source)
    if out.suffix == ".gz":
        files.write_image(out, data, affine, code)
        return
    image = nib.Nifti1Image(data, None, files.nifti_header(data, affine, code))
    with files.whole(out) as file:
        file.write(image.to_bytes())
