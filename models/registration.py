"""Alignment to a template: an affine from the centroids of the structures, in closed form.

The idea is EasyReg's (Iglesias 2023): it needs no image similarity, so any contrast aligns, in
milliseconds, from any starting position.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .affine import fit_affine
from .errors import InputError
from .templates import Template
from .volume import transform_points

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between RAS (NIfTI) and LPS (ITK) millimetres."""

LEFT_OUT = (24, 5, 44)
"""Structures whose centroids say little of where the brain is: fluid around it, thin horns."""


@dataclass(frozen=True)
class RegistrationResult:
    """An alignment.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Subject mm to template mm (RAS).
    error_mm : float
        Median distance of the structures from their counterparts after alignment.
    """

    matrix: np.ndarray
    error_mm: float


def align(
    centroids: dict[int, tuple[float, float, float]], template: Template, kind: str = "affine"
) -> RegistrationResult:
    """Align a subject to a template by the centroids of its structures.

    Parameters
    ----------
    centroids : dict of int to tuple
        Centre (mm) of every structure by FreeSurfer id.
    template : Template
        Where to.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.

    Raises
    ------
    InputError
        If subject and template share too few structures.
    """
    shared = sorted((set(centroids) & set(template.centroids)) - set(LEFT_OUT))
    if len(shared) < 6:
        raise InputError(None, f"only {len(shared)} structures to align it by", "Look at the segmentation")
    moving = np.array([centroids[i] for i in shared])
    fixed = np.array([template.centroids[i] for i in shared])
    matrix = fit_affine(moving, fixed, kind=kind if len(shared) >= 12 else "similarity")
    error = np.linalg.norm(transform_points(matrix, moving) - fixed, axis=1)
    return RegistrationResult(matrix, float(np.median(error)))


def write_transform(path: str | Path, matrix: np.ndarray) -> None:
    """Write an affine as an ITK composite transform (HDF5) that resamples image A onto B.

    Parameters
    ----------
    path : path-like
        ``from-A_to-B_mode-image_xfm.h5``.
    matrix : ndarray, shape (4, 4)
        Points (RAS mm) of A to points of B. ITK stores the opposite way, from B's points to A's, in LPS.

    Notes
    -----
    Written with h5py instead of ITK: byte-identical for the same matrix, and laid out so that ITK, ANTs and
    nitransforms read it (a CompositeTransform that holds one AffineTransform).
    """
    import h5py

    stored = LPS @ np.linalg.inv(matrix) @ LPS
    parameters = np.concatenate([stored[:3, :3].ravel(), stored[:3, 3]])
    text = h5py.string_dtype("ascii")
    with h5py.File(path, "w", track_order=False) as file:
        for key, value in (("HDFVersion", h5py.version.hdf5_version), ("ITKVersion", "5.4.0")):
            file.create_dataset(key, data=np.array([value.encode()], dtype=object), dtype=text)
        group = file.create_group("TransformGroup")
        head = group.create_group("0")
        head.create_dataset(
            "TransformType", data=np.array([b"CompositeTransform_double_3_3"], dtype=object), dtype=text
        )
        affine = group.create_group("1")
        affine.create_dataset(
            "TransformType", data=np.array([b"AffineTransform_double_3_3"], dtype=object), dtype=text
        )
        affine.create_dataset("TransformParameters", data=parameters)
        affine.create_dataset("TransformFixedParameters", data=np.zeros(3))
