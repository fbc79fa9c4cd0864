"""Image files: the one module of the models that reads and writes images through nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from ..errors import InputError
from ..geometry.volume import Volume

Image = nib.spatialimages.SpatialImage
"""An image that nibabel has opened; voxels are read when they are needed."""

FormatError = nib.filebasedimages.ImageFileError
"""Error of a file in no known image format."""


def open_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """Open an image without reading its data.

    Parameters
    ----------
    path : str or Path
        An image file.

    Returns
    -------
    SpatialImage
        The image with its header.

    Raises
    ------
    InputError
        If the file is no image, such as a surface.
    """
    image = nib.load(path)
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise InputError(str(path), "it is not an image with a grid of voxels", "Use a NIfTI image")
    return image


def voxel_size(path: str | Path) -> tuple[float, float, float]:
    """Return the voxel size (mm) along each axis, from the header's ``pixdim``."""
    x, y, z = (float(size) for size in open_image(path).header.get_zooms()[:3])
    return x, y, z


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
        Values on the file's own grid.
    """
    image = open_image(path)
    data = torch.from_numpy(np.array(image.dataobj, dtype=dtype))
    return Volume(data, affine_of(image))


def write(volume: Volume, path: str | Path) -> None:
    """Write a volume with its own type and affine (qform and sform).

    Parameters
    ----------
    volume : Volume
        Values, shape (X, Y, Z) or as the tensor has it.
    path : path-like
        ``.nii`` or ``.nii.gz``.
    """
    nib.Nifti1Image(volume.data.numpy(), volume.affine).to_filename(path)
