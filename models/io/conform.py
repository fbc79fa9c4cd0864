"""Reading a scan and refusing, by name and reason, what cannot be one."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..geometry.axes import in_memory_order
from ..geometry.volume import Volume
from . import datalad, images

LEAST_VOXELS = 10
"""Fewest voxels along a side."""

MOST_COMPRESSED = 1032
"""Bytes that one byte of a gzip file can stand for, at most."""

LEAST_MM = 40.0
"""Smallest field of view (mm): less cannot hold a brain, fetal ones included."""


TOLERANCE = 0.5
"""Disagreement (mm) of qform and sform, at the corners, that is worth a note."""


def read(path: str | Path, least_mm: float = LEAST_MM, notes: list[str] | None = None) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path : path-like
        ``.nii``, ``.nii.gz`` or ``.mgz``, 3-D (or more dimensions of length one).
    least_mm : float
        Smallest field of view (mm) that is no error; a crop may be smaller than a brain.
    notes : list of str, optional
        Notes for the user; what was guessed or replaced is appended.

    Returns
    -------
    Volume
        float32 values on the file's own grid; voxels that are not finite are 0.

    Raises
    ------
    InputError
        If the file is missing, damaged, not 3-D, too small, constant, or without a usable affine.
    """
    notes = [] if notes is None else notes
    image = _checked(path, least_mm, notes)
    data = _data(path, image)
    _check_values(path, data, notes)
    return Volume(torch.from_numpy(data), images.affine_of(image))


def check_header(path: str | Path, least_mm: float = LEAST_MM) -> list[str]:
    """Refuse a scan that its header or the size of its file shows to be unusable; no voxels are read.

    Parameters
    ----------
    path : path-like
        The scan.
    least_mm : float
        Smallest field of view (mm) that is no error.

    Returns
    -------
    list of str
        The notes of :func:`read` that come from the header.

    Raises
    ------
    InputError
        If the file is missing, in no known format, too short for its voxels, not 3-D, too small, or without
        a usable affine.
    """
    notes: list[str] = []
    _check_size(path, _checked(path, least_mm, notes))
    return notes


def _checked(path: str | Path, least_mm: float, notes: list[str]) -> images.Image:
    """Open a scan with a usable header; notes on it are appended."""
    image, said = _open(Path(path))
    _check_shape(path, image.shape)
    notes += [*said, *notes_on(image)]
    _check_affine(path, image, images.affine_of(image), least_mm)
    if image.get_data_dtype().names is not None or image.get_data_dtype().kind == "c":
        raise InputError(
            path, "its voxels are colors or complex numbers", "Give a scan of single intensities"
        )
    return image


def notes_on(image: images.Image) -> list[str]:
    """Return notes on a header whose qform is unreadable or contradicts the sform.

    Parameters
    ----------
    image : SpatialImage
        The image; its data are not read.

    Returns
    -------
    list of str
        At most one note. Headers other than NIfTI's have none.
    """
    header: Any = image.header
    if "sform_code" not in header or not (int(header["sform_code"]) and int(header["qform_code"])):
        return []
    try:
        qform = header.get_qform()
    except (ValueError, np.linalg.LinAlgError):
        qform = np.full((4, 4), np.nan)
    if not np.isfinite(qform).all():
        return ["The header's qform cannot be read; the sform was used."]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[:3]])).reshape(3, -1)
    apart = (header.get_sform() - qform)[:3] @ np.vstack([ends, np.ones(8)])
    worst = float(np.linalg.norm(apart, axis=0).max())
    if worst < TOLERANCE:
        return []
    return [f"The header's qform and sform disagree by up to {worst:.1f} mm; the sform was used."]


def _open(path: Path) -> tuple[images.Image, list[str]]:
    fetch = "Fetch or convert it again"
    if datalad.absent(path):
        what = "a broken link" if path.is_symlink() else "git-annex's pointer"
        raise InputError(
            path, f"its content is not on this machine ({what})", f"Run: datalad get {shlex.quote(str(path))}"
        )
    if not path.exists():
        raise InputError(path, "the file does not exist", "Check the path")
    if not path.is_file():
        raise InputError(path, f"it is a {'folder' if path.is_dir() else 'device or pipe'}, not a file")
    if path.stat().st_size == 0:
        raise InputError(path, "the file is empty", fetch)
    try:
        return images.opened(path)
    except images.FormatError as error:
        raise InputError(path, f"it is not a readable NIfTI file ({_line(error)})", fetch) from None
    except EOFError as error:
        raise InputError(path, f"it is truncated or damaged ({_line(error)})", fetch) from None
    except (*images.UNREADABLE, OverflowError, MemoryError) as error:
        raise InputError(path, f"it cannot be read ({_line(error)})", fetch) from None
    except Exception as error:
        raise InputError(path, f"its header cannot be read ({_line(error)})", fetch) from None


def _check_shape(path: str | Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 3 or (len(shape) == 3 and 1 in shape):
        raise InputError(path, f"it is a 2-D image (shape {_by(shape)})", "Give a 3-D scan")
    extra = [n for n in shape[3:] if n != 1]
    if extra:
        raise InputError(
            path, f"it holds {int(np.prod(extra))} volumes (shape {_by(shape)})", "Give one 3-D volume a file"
        )
    if min(shape[:3]) < LEAST_VOXELS:
        raise InputError(
            path,
            f"it is only {min(shape[:3])} voxels wide (shape {_by(shape)})",
            "Give a scan of the whole brain",
        )


def _check_affine(path: str | Path, image: images.Image, affine: np.ndarray, least_mm: float) -> None:
    remedy = "Repair the header (qform or sform), or convert from DICOM again"
    if images.is_unoriented(path, image):
        header: Any = image.header
        what = "goodRASFlag is" if "goodRASFlag" in header else "qform and sform codes are"
        raise InputError(path, f"its header says nothing of orientation ({what} 0)", remedy)
    if not np.isfinite(affine).all():
        raise InputError(path, "its affine is not finite", remedy)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3]))
    if spacing.min() < 0.05 or volume < 0.2 * spacing.prod():
        raise InputError(path, "its affine is singular or nearly so", remedy)
    extent = spacing * image.shape[:3]
    if spacing.max() > 20 or extent.min() < least_mm or extent.max() > 2000:
        raise InputError(
            path,
            f"its field of view of {_by(extent.round())} mm "
            f"or its voxels of {_by(spacing.round(2))} mm are impossible",
            "Check the header's units and voxel size; a brain does not fit",
        )


def _data(path: str | Path, image: images.Image) -> np.ndarray:
    fetch = "Fetch or convert it again"
    _check_size(path, image)
    try:
        with np.errstate(over="ignore"):  # beyond float32: not finite, which is told
            data = np.asarray(image.dataobj, dtype=np.float32)
        while data.ndim > 3:
            data = data[..., 0]
        return in_memory_order(data, np.float32)  # the files have the other order
    except images.UNREADABLE as error:
        raise InputError(
            path, f"its voxels cannot be read, it is truncated or damaged ({_line(error)})", fetch
        ) from None


def _check_size(path: str | Path, image: images.Image) -> None:
    """Refuse a file that cannot hold as many voxels as its header says, before memory is asked for them."""
    with Path(path).open("rb") as file:
        packed = file.read(2) == images.GZIP
    stored = Path(path).stat().st_size * (MOST_COMPRESSED if packed else 1)
    if np.prod(image.shape, dtype=float) * image.get_data_dtype().itemsize > stored:
        reason = f"it is truncated or its header damaged: {_by(image.shape)} voxels cannot be in it"
        raise InputError(path, reason, "Fetch or convert it again")


def _check_values(path: str | Path, data: np.ndarray, notes: list[str]) -> None:
    """Replace voxels that are not finite, such as a background of NaN, and refuse constant images."""
    finite = np.isfinite(data)
    if not finite.any():
        raise InputError(path, "all its voxels are NaN or infinite", "Export the scan again")
    if not finite.all():
        count = int(data.size - finite.sum())
        data[~finite] = 0
        share = f"{count} voxels are" if count > 1 else "1 voxel is"
        notes.append(f"{share} NaN, infinite or beyond 3e38 ({100 * count / data.size:.2g} %): set to 0.")
    low, high = float(data.min()), float(data.max())
    if low == high:
        what = "all its voxels are zero" if low == 0 else f"all its voxels are {low:g}"
        raise InputError(path, what, "Export the scan again")


def _by(numbers: Iterable[float]) -> str:
    return "x".join(f"{n:g}" for n in numbers)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
