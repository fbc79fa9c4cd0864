"""Open images without reading their data."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib

from ..errors import InputError


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
