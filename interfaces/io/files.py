"""Files of the derivatives: written to a temporary file, then renamed; equal content gives equal bytes."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from isal import isal_zlib

from ...models.errors import OutputError
from ...models.geometry.axes import slabs
from ...models.io import atomic

LEVEL = 2
"""Compression level of ISA-L: a tenth of the time of zlib's level 4, for files of about the same size."""

GZIP = 31
"""Window size of zlib for a gzip file, whose header then has no name and no time."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    binary file
        Temporary file, open for writing.

    Raises
    ------
    OutputError
        If it cannot be written; the temporary file is removed.
    """
    try:
        with atomic.replacing(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for a file that cannot be written.

    Parameters
    ----------
    path : Path
        The file.
    error : OSError
        Error of the operating system.

    Returns
    -------
    OutputError
        Error with the reason and a remedy.

    Examples
    --------
    >>> str(unwritable(Path("a.nii.gz"), OSError(errno.ENOSPC, "")))
    'a.nii.gz: the disk is full. Free disk space, then run the same command again to continue.'
    """
    if error.errno in FULL:
        return OutputError(
            path, "the disk is full", "Free disk space, then run the same command again to continue"
        )
    what = error.strerror or str(error) or type(error).__name__
    return OutputError(
        path, f"cannot be written ({what})", "Check the permissions of the folder and the disk"
    )


def sweep(folder: Path, prefix: str) -> None:
    """Remove the temporary files of a killed process.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    prefix : str
        Beginning of their names.
    """
    for path in folder.glob(f".{prefix}_*{atomic.MARK}"):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file (UTF-8) and return its path."""
    with whole(path) as file:
        file.write(text.encode("utf-8"))
    return path


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write a JSON file and return its path."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    """Write a TSV with a header row and return its path.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Names of the columns.
    rows : list of tuple
        Cells of every row.

    Returns
    -------
    Path
        The file.
    """
    lines = ["\t".join(columns), *("\t".join(str(value) for value in row) for row in rows)]
    return write_text(path, "\n".join(lines) + "\n")


def write_binary(path: Path, write: Callable[[BinaryIO], None]) -> Path:
    """Write a file through memory, for formats that need random access.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Function that writes to a binary file.

    Returns
    -------
    Path
        The file.
    """
    memory = io.BytesIO()
    write(memory)
    with whole(path) as file:
        file.write(memory.getbuffer())
    return path


def write_image(path: Path, data: np.ndarray, affine: np.ndarray, code: int = 1) -> Path:
    """Write a compressed NIfTI image.

    Parameters
    ----------
    path : Path
        ``*.nii.gz``.
    data : ndarray
        Values in the file's data type.
    affine : ndarray, shape (4, 4)
        Voxel index to mm; becomes qform and sform.
    code : int
        NIfTI code of both.

    Returns
    -------
    Path
        The file.
    """
    header = nifti_header(data, affine, code)
    start = io.BytesIO()
    header.write_to(start)
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP)
    with whole(path) as file:
        file.write(packer.compress(start.getvalue()))
        for part in slabs(np.asarray(data)):
            file.write(packer.compress(part.ravel().data if part.size else b""))
        file.write(packer.flush())
    return path


def nifti_header(data: np.ndarray, affine: np.ndarray, code: int) -> nib.Nifti1Header:
    """Return a header with equal qform and sform; a sheared affine has only an sform.

    Parameters
    ----------
    data : ndarray
        Values.
    affine : ndarray, shape (4, 4)
        Voxel index to mm.
    code : int
        NIfTI code of both.

    Returns
    -------
    Nifti1Header
        The header.
    """
    image = nib.Nifti1Image(data, affine)
    header = image.header
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, code)
    try:
        header.set_qform(affine, code, strip_shears=False)
    except nib.spatialimages.HeaderDataError:  # sheared: only an sform can represent it
        header.set_qform(affine, 0)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = b"n+1"
    header.set_data_offset(352)
    return header


def own_affine(image: nib.spatialimages.SpatialImage, affine: np.ndarray) -> np.ndarray:
    """Return an affine without the rounding of a work file: that of the source image if they agree.

    Parameters
    ----------
    image : SpatialImage
        The source image.
    affine : ndarray, shape (4, 4)
        Affine of a work file; another one if the orientation was corrected.

    Returns
    -------
    ndarray, shape (4, 4)
        Affine.
    """
    own = np.asarray(image.affine)
    return own if np.allclose(own, affine, atol=1e-3) else affine


def geometry_code(image: nib.spatialimages.SpatialImage) -> int:
    """Return the code of an image's affine: the sform's, else the qform's, else 1 (scanner).

    Parameters
    ----------
    image : SpatialImage
        The image.

    Returns
    -------
    int
        NIfTI code.
    """
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return 1
    codes = [int(header[name]) for name in ("sform_code", "qform_code")]
    return next((code for code in codes if code > 0), 1)
