"""Brain mask by a network trained on thousands of T1-weighted scans (deepbet; Fisch et al. 2024).

The network sees the brain's box, stretched to a cube, as in its training. The box is upright in the atlas
frame, so that the position of the head does not matter. Scans are recognized by their intensities, not by
their name: white matter is brighter than gray matter, which is brighter than fluid. T2-weighted scans, whose
fluid is far brighter than their tissue, are inverted.

The mask loses no cortex, but takes in fluid, marrow and whatever is as bright as the brain behind them. Our
own mask ends too deep, but has no such errors. So what the published mask has in addition is kept where it is
as bright as the brain nearby and continuous with our own mask (:func:`continuous`).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry import distance as surface
from ..geometry.axes import triple
from ..geometry.volume import Grid, Volume, resample, transform_points
from ..localization.head import Coarse
from ..networks import zoo
from ..networks.inference import run

MARGIN = 0.1
"""Margin around the coarse brain's box, relative to its size, as in training."""

SIDE = 256
"""Voxels along every side of the cube."""

TAILS = (0.005, 0.995)
"""Quantiles of the whole image that become 0 and 1."""

MEAN, SPREAD = 0.449, 0.226
"""Mean and standard deviation of the network's input."""

CONTRAST = 0.04
"""Smallest difference of the tissues' mean intensities, relative to the image's range."""

DARK_FLUID = 0.1
"""Smallest difference of gray or white matter to fluid where fluid is dark, relative to the image's range."""

QUANTILES, BRIGHT_TAIL = (0.03, 0.5, 0.97), 2.0
"""Quantiles of the intensities deep in the brain, and the smallest ratio of the upper to the lower tail of a
T2-weighted scan, whose fluid is far brighter than its tissue. Real heads: T1w 0.6 to 0.9, T2w 3.7 and 4.5."""

DEEP = 3.0
"""Depth (mm) in the coarse brain from which these intensities are taken."""

DARK, DARK_PART = 0.08, 0.6
"""Intensity below which a T2-weighted image has bone or background, relative to the image's range, and to the
darkest brain (the lowest of :data:`QUANTILES`): the larger one."""

LEAST_OVERLAP = 0.85
"""Dice coefficient with the coarse brain below which the mask is not used."""

DARKER, BRIGHTER = 0.65, 1.35
"""Intensity relative to the mean of the brain nearby: fluid and bone have less, fat and vessels more."""

GRAY_PART = 0.86
"""The same as a part of the gray matter's mean: cortex that is far darker than white matter stays."""

NEARBY, NEARBY_STEP = 12.0, 3
"""Standard deviation (mm) of the neighborhood, and the subsampling with which its mean is computed."""

LONG = 6.0
"""Distance (mm) up to which brain is followed from our own mask, whose surface is 2 to 4 mm too deep."""

LONGEST, FAR = 12.0, 3.0
"""The same up to ``FAR`` mm outside of the coarse brain: our own mask may miss the pole of a lobe."""

SULCI, RIM = 5.0, 0.5
"""Radius (mm) for the closing of what was followed, and the distance (mm) to which it is widened."""

SURELY = 4.0
"""Depth (mm) in the coarse brain from which a voxel is brain for certain."""

LEAST_CORE = 0.8
"""Dice coefficient of our own mask and the published one below which the latter stays as it is."""

WHITE, GRAY, FLUID = 2, 3, 4
"""FreeSurfer ids of the tissues that are compared."""


def as_t1w(volume: Volume, coarse: Coarse, structures: tuple[int, ...]) -> Volume | None:
    """Return a scan with the contrast of a T1-weighted one, if its tissues allow it.

    Parameters
    ----------
    volume : Volume
        The scan.
    coarse : Coarse
        Result of the coarse network.
    structures : tuple of int
        FreeSurfer ids (without side) of its structures.

    Returns
    -------
    Volume or None
        A T1-weighted scan as it is, a T2-weighted scan inverted with dark bone and background, None for other
        contrasts.
    """
    low, high = intensity_range(volume.data)
    span = max(high - low, 1e-6)
    deep = _deep(volume, coarse)
    if _tails(deep) > BRIGHT_TAIL:
        bright = volume.data > low + max(DARK * span, DARK_PART * (deep[0] - low))
        return volume.with_data(torch.where(bright, (high - volume.data).clamp(min=0), torch.zeros(())))
    white, gray, fluid = ((level - low) / span for level in _levels(volume, coarse, structures))
    return volume if white - gray > CONTRAST and gray - fluid > CONTRAST else None


def _levels(volume: Volume, coarse: Coarse, structures: tuple[int, ...]) -> list[float]:
    """Return the mean intensities of white matter, gray matter and fluid."""
    image = resample(volume, coarse.structures.grid).data
    levels = []
    for index in (WHITE, GRAY, FLUID):
        weight = coarse.structures.data[structures.index(index)] ** 2
        levels.append(float((image * weight).sum() / weight.sum().clamp(min=1e-3)))
    return levels


def has_dark_fluid(volume: Volume, coarse: Coarse, structures: tuple[int, ...]) -> bool:
    """Return whether fluid is darker than white and gray matter.

    Parameters
    ----------
    volume : Volume
        The scan.
    coarse : Coarse
        Result of the coarse network.
    structures : tuple of int
        FreeSurfer ids (without side) of its structures.
    """
    low, high = intensity_range(volume.data)
    white, gray, fluid = _levels(volume, coarse, structures)
    return min(white, gray) - fluid > DARK_FLUID * max(high - low, 1e-6)


def darkest(image: Volume, coarse: Coarse, structures: tuple[int, ...]) -> float:
    """Return the intensity of the darkest cortex, relative to the mean of white and gray matter.

    Parameters
    ----------
    image : Volume
        Result of :func:`as_t1w`, 0 in air.
    coarse : Coarse
        Result of the coarse network.
    structures : tuple of int
        FreeSurfer ids (without side) of its structures.

    Returns
    -------
    float
        :data:`DARKER`, or less where the gray matter is far darker than the white matter.
    """
    white, gray, _ = _levels(image, coarse, structures)
    return min(DARKER, GRAY_PART * gray / max(white, gray, 1e-6))


def _deep(volume: Volume, coarse: Coarse) -> list[float]:
    """Return the :data:`QUANTILES` of the intensities deep in the brain; zeros without any.

    The coarse network may confuse the tissues of T2-weighted scans, so that this does not use them.
    """
    inside = coarse.distance.data > DEEP
    if not bool(inside.any()):
        return [0.0] * len(QUANTILES)
    levels = resample(volume, coarse.distance.grid).data[inside]
    return torch.quantile(levels, torch.tensor(QUANTILES)).tolist()


def _tails(deep: list[float]) -> float:
    """Return the ratio of upper to lower tail of the intensities deep in the brain."""
    low, middle, high = deep
    return (high - middle) / max(middle - low, 1e-6)


def probability(
    volume: Volume, coarse: Coarse, model: str, device: str, notes: list[str] | None = None
) -> Volume:
    """Return the probability of brain in the box of the coarse brain.

    Parameters
    ----------
    volume : Volume
        Result of :func:`as_t1w`.
    coarse : Coarse
        Result of the coarse network.
    model : str
        Weights.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, float32, shape (256, 256, 256)
        Probability, on a grid that is upright in the atlas frame.
    """
    loaded = zoo.load_once(model, device)
    grid = _cube(coarse)
    image = resample(volume, grid).data
    low, high = intensity_range(volume.data)
    image = ((image - low) / max(high - low, 1e-6)).clamp(0, 1)
    # Not by PyTorch: its sums depend on the number of threads.
    mean, spread = (float(f(image.numpy(), dtype=np.float64)) for f in (np.mean, np.std))
    image = (image - mean) / max(spread, 1e-6) * SPREAD + MEAN
    none = torch.empty(0, *grid.shape)
    logits = run(loaded.network, image, none, device=device, notes=notes)["mask"]
    return Volume((logits[1] - logits[0]).sigmoid(), grid.affine)


def agrees(found: Volume, coarse: Coarse) -> bool:
    """Return whether a mask fits the coarse brain.

    Parameters
    ----------
    found : Volume
        Result of :func:`probability`.
    coarse : Coarse
        Result of the coarse network.

    Returns
    -------
    bool
        Whether their Dice coefficient is at least :data:`LEAST_OVERLAP`.
    """
    here, there = resample(found, coarse.distance.grid).data > 0.5, coarse.distance.data > 0
    shared = float((here & there).sum())
    return 2 * shared >= LEAST_OVERLAP * float(here.sum() + there.sum())


def continuous(
    mask: np.ndarray,
    image: np.ndarray,
    own: np.ndarray,
    coarse: np.ndarray,
    spacing: float,
    least: float = DARKER,
) -> np.ndarray | None:
    """Return the part of a mask that is continuous with the brain.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The mask, which may take in more than the brain.
    image : ndarray of float, shape (X, Y, Z)
        T1-weighted image (:func:`as_t1w`), 0 in air.
    own : ndarray of bool, shape (X, Y, Z)
        Mask for any contrast, which may end too deep.
    coarse : ndarray of float, shape (X, Y, Z)
        Signed distance (mm) to the surface of the coarse brain, positive inside.
    spacing : float
        Voxel size (mm).
    least : float
        Result of :func:`darkest`.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z), or None
        What is sure (``own``, and what is deep in the coarse brain) and voxels of the mask that are as bright
        as the brain nearby and touch it directly or through others, without bridges of two voxels or less,
        closed over the sulci; None if ``mask`` and what is sure differ too much (:data:`LEAST_CORE`).
    """
    core = mask & (own | (coarse > SURELY))
    if 2 * core.sum() <= LEAST_CORE * (core.sum() + mask.sum()):
        return None
    nearby = _nearby(image, core, spacing)
    tissue = mask & (image > least * nearby) & (image < BRIGHTER * nearby)
    reached = core
    for reach, part in ((LONG, tissue), (LONGEST - LONG, tissue & (coarse > -FAR))):
        steps = max(1, round(reach / spacing))
        reached = ndimage.binary_dilation(reached, mask=part | reached, iterations=steps)
    reached = ndimage.binary_opening(reached) | core
    return mask & surface.closed(reached, SULCI, spacing, RIM)


def _nearby(image: np.ndarray, core: np.ndarray, spacing: float) -> np.ndarray:
    """Return the mean intensity of the core around every voxel, which follows the bias field."""
    few = tuple(slice(None, None, NEARBY_STEP) for _ in range(3))
    weight = core[few].astype(np.float32)
    width = NEARBY / spacing / NEARBY_STEP
    total = ndimage.gaussian_filter(weight * image[few], width, truncate=2.5)
    mean = torch.from_numpy(total / np.maximum(ndimage.gaussian_filter(weight, width, truncate=2.5), 1e-4))
    step = np.diag([NEARBY_STEP] * 3 + [1.0])
    return resample(Volume(mean, step), Grid(triple(image.shape), np.eye(4))).data.numpy()


def intensity_range(data: Tensor) -> tuple[float, float]:
    """Return low and high intensity of a whole image."""
    step = max(1, data.numel() // 2_000_000)
    low, high = torch.quantile(data.reshape(-1)[::step].float(), torch.tensor(TAILS))
    return float(low), float(high)


def _cube(coarse: Coarse) -> Grid:
    """Return the grid of the brain's box with its margin, upright in the atlas frame."""
    u, _, vt = np.linalg.svd(coarse.to_atlas[:3, :3])
    turn = u @ vt
    inside = np.argwhere(coarse.distance.data.numpy() > 0)
    points = transform_points(coarse.distance.affine, inside) @ turn.T
    low, high = points.min(0), points.max(0)
    size = (high - low + coarse.distance.grid.spacing) * (1 + 2 * MARGIN)
    step = size / SIDE
    first = (low + high) / 2 - step * (SIDE - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = turn.T * step
    affine[:3, 3] = turn.T @ first
    return Grid((SIDE, SIDE, SIDE), affine)
