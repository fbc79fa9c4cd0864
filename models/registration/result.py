"""Input and output of a registration: a brain with its structures, and the alignment of two brains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..deformation.warp import Warp
from ..geometry.volume import Volume


@dataclass(frozen=True)
class Anatomy:
    """An image with its segmentation.

    Attributes
    ----------
    image : Volume, float32
        Bias-corrected image.
    mask : Volume, uint8
        Brain mask.
    structures : Volume of integers
        FreeSurfer ids.
    centroids : dict of int to tuple
        Centroid (RAS mm) of every structure.
    probabilities : mapping of str to Volume
        ``GM``, ``WM``, ``CSF``; may be empty.
    """

    image: Volume
    mask: Volume
    structures: Volume
    centroids: dict[int, tuple[float, float, float]]
    probabilities: Mapping[str, Volume]


@dataclass(frozen=True)
class RegistrationResult:
    """Alignment of two brains.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Affine, moving mm to fixed mm (RAS).
    error_mm : float
        Median distance (mm) of corresponding structures after the affine.
    forward, inverse : Warp
        Warps that resample moving onto fixed, and fixed onto moving.
    folds : float
        Share of the voxels that fold.
    engine : str
        ``deep``, ``ants`` or ``none``.
    """

    matrix: np.ndarray
    error_mm: float
    forward: Warp
    inverse: Warp
    folds: float = 0.0
    engine: str = "none"
