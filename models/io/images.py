"""Image files: the one module of the models that reads and writes images through nibabel."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from isal import igzip, isal_zlib

from ..errors import InputError
from ..geometry.volume import Volume

Image = nib.spatialimages.SpatialImage
"""An image that nibabel has opened; voxels are read when they are needed."""

FormatError = nib.filebasedimages.ImageFileError
"""Error of a file in no known image format."""


GZIP = b"\x1f\x8b"
"""First bytes of a compressed file."""

HEADERS: dict[int, type[nib.Nifti1Image]] = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""NIfTI images by the first number of their header."""

# The annotation of the last one is wrong.
UNREADABLE: Any = (OSError, EOFError, ValueError, zlib.error, isal_zlib.error)
"""What is raised where the file of an image ends early or has other values than it says."""

REVERSED = b"axes in reverse order"
"""Mark in the header of work files that have the order of the memory."""

FIELD_MM = (20.0, 2000.0)
"""Plausible sides of a field of view (mm)."""


def open_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """Open an image without reading its data.

    Parameters
    ----------
    path : str or Path
        An image file.

    Returns
    -------
    SpatialImage
        The image with its header, in millimeters.

    Raises
    ------
    InputError
        If the file is no image, such as a surface.
    """
    return opened(path)[0]


def opened(path: str | Path) -> tuple[nib.spatialimages.SpatialImage, list[str]]:
    """Open an image, and say what of it had to be read in another way than its name and header say.

    Read are compressed files that are named as if they were not, and the other way round; affines in meters
    or micrometers; a qform in place of an empty sform; and gray images that are stored as colors.

    Returns
    -------
    image : SpatialImage
        As from :func:`open_image`.
    notes : list of str
        What was done.
    """
    image, notes = _loaded(Path(path))
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise InputError(str(path), "it is not an image with a grid of voxels", "Use a NIfTI image")
    for mend in (_in_order, _gray, _usable, _in_mm):
        image, note = mend(image)
        notes += [note] if note else []
    return image, notes


def _loaded(path: Path) -> tuple[Any, list[str]]:
    """Load a file as it is stored, whatever its name says of compression."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    named = path.name.lower().endswith((".gz", ".mgz"))
    if packed and path.name.lower().endswith(".nii.gz"):
        stream = igzip.open(path)
        kind = _kind(stream)
        return (nib.load(path) if kind is None else kind.from_stream(stream)), []
    if packed == named or not path.name.lower().endswith((".nii", ".nii.gz", ".mgz", ".mgh")):
        foreign = path.name.lower().endswith((".mgz", ".mgh"))
        return nib.load(path), [f"The image is in FreeSurfer's format ({path.suffix})."] if foreign else []
    stream = gzip.open(path) if packed else path.open("rb")  # noqa: SIM115  the image reads from it later
    kind = _kind(stream)
    if kind is None and ".mg" in path.name.lower():
        kind = nib.MGHImage
    if kind is None:
        stream.close()
        return nib.load(path), []  # with nibabel's own error
    word = "compressed" if packed else "not compressed"
    return kind.from_stream(stream), [
        f"The file is {word}, although its name ends in {''.join(path.suffixes)}."
    ]


def _kind(stream: Any) -> Any:
    """Return the kind of a NIfTI image by the size of its header; None of other files."""
    size = int.from_bytes(stream.peek(4)[:4], "little")
    return HEADERS.get(size) or HEADERS.get(int.from_bytes(size.to_bytes(4, "little"), "big"))


def _in_order(image: Image) -> tuple[Image, str]:
    """Return a work file (:func:`write`) with its axes in order."""
    if not isinstance(image.header, nib.Nifti1Header) or image.header["descrip"].item() != REVERSED:
        return image, ""
    data, header = np.asarray(image.dataobj).T, image.header.copy()
    header["descrip"] = b""
    return type(image)(data, image.affine[:, [2, 1, 0, 3]], header), ""


def _gray(image: Image) -> tuple[Image, str]:
    """Return an image of three equal colors as one of single intensities."""
    kind = image.get_data_dtype()
    if kind.names is None or not {"R", "G", "B"} <= set(kind.names):
        return image, ""
    data = np.asarray(image.dataobj)
    if not ((data["R"] == data["G"]).all() and (data["R"] == data["B"]).all()):
        return image, ""
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    return type(image)(
        data["R"].copy(), image.affine, header
    ), "The voxels are colors, all gray: read as gray."


def _usable(image: Image) -> tuple[Image, str]:
    """Return an image with its qform if there is nothing in the sform, for all that its code says."""
    header = image.header
    if not isinstance(header, nib.Nifti1Header) or not (
        int(header["sform_code"]) and int(header["qform_code"])
    ):
        return image, ""
    sform = header.get_sform()
    if np.isfinite(sform).all() and sform[:3, :3].any():
        return image, ""
    try:
        qform = header.get_qform()
    except (ValueError, np.linalg.LinAlgError):
        return image, ""
    if not np.isfinite(qform).all():
        return image, ""
    return _with_affine(image, 1.0, qform), "The header's sform is empty; the qform was used."


def _in_mm(image: Image) -> tuple[Image, str]:
    """Return an image in millimeters, if its affine is plausible in meters or micrometers only."""
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    sides = spacing * image.shape[:3] if len(image.shape) >= 3 else np.zeros(3)
    for factor, unit in ((1e3, "meters"), (1e-3, "micrometers")):
        seen = sides * factor
        far = sides.max() < FIELD_MM[0] / 10 or sides.min() > FIELD_MM[1] * 2
        if far and FIELD_MM[0] < seen.min() and seen.max() < FIELD_MM[1]:
            return _with_affine(image, factor), f"The header is in {unit}: it was read in millimeters."
    return image, ""


def _with_affine(image: Image, factor: float, affine: np.ndarray | None = None) -> Image:
    """Return an image with another affine, or with all lengths of the header times a factor."""
    header = image.header.copy()
    scale = np.diag([factor, factor, factor, 1.0])
    if isinstance(header, nib.Nifti1Header):
        forms = [
            (header.set_sform, header.get_sform(coded=True)),
            (header.set_qform, header.get_qform(coded=True)),
        ]
        for write, (form, code) in forms:
            if form is not None:
                write(scale @ form if affine is None else affine, int(code))
        if affine is None:
            zooms = image.header.get_zooms()
            header.set_zooms((*(z * factor for z in zooms[:3]), *zooms[3:]))
            header.set_xyzt_units("mm")
    return type(image)(image.dataobj, scale @ image.affine if affine is None else affine, header)


def kind_of(image: Image) -> np.dtype:
    """Return the type of an image's values: float32 for integers that the header scales.

    Parameters
    ----------
    image : SpatialImage
        The image; its data are not read.
    """
    stored = np.dtype(image.get_data_dtype())
    scale = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    return stored if stored.kind not in "iu" or scale == (1.0, 0.0) else np.dtype(np.float32)


def voxel_size(path: str | Path) -> tuple[float, float, float]:
    """Return the voxel size (mm) along each axis, from the affine, as everything else."""
    x, y, z = (float(size) for size in np.linalg.norm(open_image(path).affine[:3, :3], axis=0))
    return x, y, z


def is_unoriented(path: str | Path, image: Image) -> bool:
    """Return whether a header says nothing of orientation: NIfTI's codes, or FreeSurfer's flag, are 0.

    Parameters
    ----------
    path : path-like
        The file of the image.
    image : SpatialImage
        The image.
    """
    header: Any = image.header
    if "sform_code" in header:
        return int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0
    if "goodRASFlag" not in header:
        return False
    with Path(path).open("rb") as file:  # nibabel sets the flag where it assumes an orientation
        packed = file.read(2) == GZIP
    with gzip.open(path) if packed else Path(path).open("rb") as stream:
        return stream.read(30)[28:] == b"\0\0"


def affine_of(image: Image) -> np.ndarray:
    """Return the affine of an image, voxel index to mm (RAS), float64, shape (4, 4)."""
    return np.asarray(image.affine, np.float64)


def read(path: str | Path, dtype: type[np.generic] | None = None) -> Volume:
    """Read an image that is known to be good, such as an intermediate result.

    Parameters
    ----------
    path : path-like
        NIfTI file; scans from outside go through :func:`brainseg.models.io.conform.read`.
    dtype : NumPy scalar type, optional
        Type of the values; by default the stored one, or float64 where the header scales the values.

    Returns
    -------
    Volume
        Values on the file's own grid. Those of a file of :func:`write` are read when they are used, and
        changes of them do not reach the file.
    """
    image = open_image(path)
    values = np.asarray(image.dataobj, dtype)
    return Volume(torch.from_numpy(values if values.flags.writeable else values.copy()), affine_of(image))


def write(volume: Volume, path: str | Path) -> None:
    """Write a volume for :func:`read` by a later stage, without reordering its voxels.

    The file is a valid image whose axes are in reverse order, since NIfTI stores the first axis fastest and
    memory the last one; :func:`open_image` and :func:`read` know it by the header.

    Parameters
    ----------
    volume : Volume
        Values, shape (X, Y, Z).
    path : path-like
        ``.nii``.
    """
    voxels = volume.data.contiguous()
    header = nib.Nifti1Image(voxels.numpy().T, volume.affine[:, [2, 1, 0, 3]]).header
    header["descrip"] = REVERSED
    header.set_data_offset(header.single_vox_offset)
    header["magic"] = header.single_magic
    Path(path).unlink(missing_ok=True)  # another process may still read the pages of an earlier one
    # nibabel writes plane by plane and looks for what has to be scaled: several times slower.
    with Path(path).open("wb") as file:
        header.write_to(file)
        file.write(voxels.numpy().data)  # tofile does not say why it failed
