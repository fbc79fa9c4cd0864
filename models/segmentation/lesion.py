"""Bright lesions in FLAIR or T2w images.

The input of a U-Net is an axial slice of the scan's own thickness and its neighbors 5 mm above and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import InputError
from ..geometry.volume import Grid, Volume, resample, transform_points
from ..networks import purpose, zoo
from ..networks.inference import run
from ..population import labels
from .own import labels as own_labels

THINNEST = 2.0
"""Smallest distance (mm) of the slices."""

REACH = 5.0
"""Distance (mm) of the neighbors above and below a slice."""

MARGIN = 8.0
"""Margin (mm) around the brain."""

AROUND = 3.0
"""Distance (mm) from the brain mask up to which the image keeps its intensities."""

SPREAD = 3.0
"""Robust deviations from the brain's median that are scaled to 1."""

RIM = 1.0
"""Width (mm) of the rim of CSF in which voxels are mixed."""

SMALLEST = 15.0
"""Smallest volume (mm3) of a lesion; smaller ones are noise."""


@dataclass(frozen=True)
class LesionResult:
    """Lesions of a scan; all volumes are on its grid.

    Attributes
    ----------
    mask : Volume, uint8
        1 in lesions.
    probability : Volume, float32
        Probability of a lesion.
    lesions : list of Lesion
        Lesions, largest first.
    notes : list of str
        Notes on the results.
    """

    mask: Volume
    probability: Volume
    lesions: list[Lesion]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lesion:
    """One connected lesion.

    Attributes
    ----------
    volume : float
        Volume (mm3).
    center : tuple of float
        Center (mm, RAS).
    probability : float
        Mean probability.
    """

    volume: float
    center: tuple[float, float, float]
    probability: float


def find(
    volume: Volume,
    mask: Volume,
    *,
    others: Sequence[Volume] = (),
    structures: Volume | None = None,
    device: str = "cpu",
    model: str = "lesion",
    threshold: float = 0.5,
) -> LesionResult:
    """Segment the lesions of a scan.

    Parameters
    ----------
    volume : Volume
        FLAIR or T2w scan, as acquired: a correction of the bias takes a large lesion for bias.
    mask : Volume
        Brain mask, on the same grid.
    others : sequence of Volume
        Images of the further contrasts of a network of the user, on any grids.
    structures : Volume, optional
        FreeSurfer ids on the same grid; no lesion covers their CSF. For contrasts with bright CSF.
    device : str
        Device of the network.
    model : str
        Weights.
    threshold : float
        Smallest probability of a lesion voxel.

    Returns
    -------
    LesionResult
        Mask, probability map and list of lesions.

    Raises
    ------
    InputError
        If the mask is empty, or there is not one image for each contrast of the network.
    """
    if not bool((mask.data > 0).any()):
        raise InputError(None, "the brain mask is empty", "Check the mask")
    loaded = zoo.load_once(model, device)
    notes: list[str] = []
    if purpose.kind_of(loaded.card) == purpose.SUPERVISED:
        on_slices = own_labels.foreground([volume, *others], mask, model, device, notes)
    else:
        on_slices = _on_slices(volume, mask, loaded, device, notes)
    inside = mask.data > 0
    if structures is not None:
        inside = inside & ~fluid(structures)
    probability = resample(on_slices, volume.grid).data.clamp(0, 1) * inside
    found, lesions = components(probability.numpy(), volume.grid, threshold)
    return LesionResult(
        volume.with_data(torch.from_numpy(found)), volume.with_data(probability), lesions, notes
    )


def _on_slices(volume: Volume, mask: Volume, loaded: zoo.Model, device: str, notes: list[str]) -> Volume:
    """Return the probability of a lesion in axial slices."""
    image, brain = prepared(volume, mask, float(loaded.card["spacing"]))
    start = [(-n) % loaded.stride for n in image.grid.shape[:2]]
    x = torch.nn.functional.pad(channels(image, brain), (0, 0, 0, start[1], 0, start[0]))
    logit = run(loaded.network, x[0], x[1:], device=device, notes=notes)["lesion"][0]
    shape = image.grid.shape
    return Volume(logit[: shape[0], : shape[1]].sigmoid(), image.affine)


def fluid(structures: Volume, label_table: str = "adult") -> Tensor:
    """Return the ventricles and the outer CSF with their rim of mixed voxels, ``RIM`` mm wide.

    Parameters
    ----------
    structures : Volume
        FreeSurfer ids.
    label_table : str
        Their label table.

    Returns
    -------
    Tensor of bool, shape (X, Y, Z)
        CSF.
    """
    table = labels.load(label_table)
    dseg = table.lookup("dseg")[structures.data.numpy().astype(np.int64)]
    csf = dseg == labels.DSEG_NAMES.index("CSF") + 1
    near = ndimage.distance_transform_edt(~csf, structures.grid.spacing) <= RIM
    return torch.from_numpy(near)


def prepared(volume: Volume, mask: Volume, spacing: float) -> tuple[Volume, Volume]:
    """Return scan and brain in axial slices.

    The scan's values are the deviations from the brain's median, in units of ``SPREAD`` robust deviations.

    Parameters
    ----------
    volume : Volume
        The scan.
    mask : Volume
        Its brain, on the same grid.
    spacing : float
        Voxel size (mm) within a slice; the distance of the slices is the scan's own.
    """
    scan, brain = volume.canonical(), mask.with_data((mask.data > 0).float()).canonical()
    values = scan.data[brain.data > 0.5].float()
    middle = values[:: max(1, len(values) // 200_000)].median()
    deviation = 1.4826 * (values - middle).abs()[:: max(1, len(values) // 200_000)].median()
    scaled = (scan.data.float() - middle) / (SPREAD * deviation.clamp(min=1e-6))
    grid = slices(brain, spacing)
    outside = float(-middle / (SPREAD * deviation.clamp(min=1e-6)))
    image = resample(scan.with_data(scaled.clamp(-2, 4)), grid, outside=max(outside, -2.0))
    return image, Volume((resample(brain, grid).data > 0.5).float(), grid.affine)


def slices(brain: Volume, spacing: float) -> Grid:
    """Return the grid of slices around the brain, along the axes of a canonical scan.

    Parameters
    ----------
    brain : Volume
        Brain mask.
    spacing : float
        Voxel size (mm) within a slice.

    Returns
    -------
    Grid
        Grid of the slices.
    """
    size = brain.grid.spacing
    step = np.array([spacing, spacing, max(size[2], THINNEST)])
    where = (brain.data > 0.5).nonzero().numpy()
    low, high = where.min(0) - MARGIN / size, where.max(0) + MARGIN / size
    low[2], high[2] = where.min(0)[2], where.max(0)[2]
    count = np.floor((high - low) * size / step + 1e-4).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = brain.affine[:3, :3] / size * step
    affine[:3, 3] = transform_points(brain.affine, low)
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def channels(image: Volume, brain: Volume, reach: float = REACH) -> Tensor:
    """Return every slice with its neighbors above and below, dark far from the brain.

    Parameters
    ----------
    image, brain : Volume, shape (X, Y, Z)
        Slices and brain mask.
    reach : float
        Distance (mm) of the neighbors.

    Returns
    -------
    Tensor, shape (3, X, Y, Z)
        Slice, lower neighbor and upper neighbor.
    """
    data = darkened(image.data, brain.data, image.grid.spacing)
    step = reach / float(image.grid.spacing[2])
    return torch.stack([data, shifted(data, -step), shifted(data, step)])


def darkened(data: Tensor, brain: Tensor, spacing: np.ndarray) -> Tensor:
    """Return the image, dark from ``AROUND`` mm outside the brain.

    Parameters
    ----------
    data, brain : Tensor, shape (X, Y, Z)
        Intensities and brain mask.
    spacing : ndarray, shape (3,)
        Voxel size (mm).

    Returns
    -------
    Tensor, shape (X, Y, Z)
        The image.
    """
    near = ndimage.distance_transform_edt(brain.numpy() < 0.5, spacing) <= AROUND
    return torch.where(torch.from_numpy(near), data, -2.0)


def shifted(data: Tensor, step: float) -> Tensor:
    """Return the slices at a higher position, linearly interpolated; the last one is repeated.

    Parameters
    ----------
    data : Tensor, shape (..., Z)
        Slices.
    step : float
        Shift in slices.

    Returns
    -------
    Tensor, shape (..., Z)
        The shifted slices.
    """
    at = (torch.arange(data.shape[-1]) + step).clamp(0, data.shape[-1] - 1)
    low = at.floor().long()
    part = (at - low).to(data.dtype)
    high = (low + 1).clamp(max=data.shape[-1] - 1)
    return data[..., low] * (1 - part) + data[..., high] * part


def components(
    probability: np.ndarray, grid: Grid, threshold: float = 0.5
) -> tuple[np.ndarray, list[Lesion]]:
    """Return the connected lesions of a probability map that reach ``SMALLEST``.

    Parameters
    ----------
    probability : ndarray, shape (X, Y, Z)
        Probability of a lesion.
    grid : Grid
        Its grid.
    threshold : float
        Smallest probability of a lesion voxel.

    Returns
    -------
    mask : ndarray of uint8, shape (X, Y, Z)
        1 in lesions.
    lesions : list of Lesion
        Lesions, largest first.
    """
    pieces, count = ndimage.label(probability > threshold, ndimage.generate_binary_structure(3, 3))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * grid.voxel_volume
    kept = [k for k in range(1, count + 1) if sizes[k] >= SMALLEST]
    means = ndimage.mean(probability, pieces, kept) if kept else []
    centers = ndimage.center_of_mass(pieces > 0, pieces, kept) if kept else []
    lesions = [
        Lesion(float(sizes[k]), tuple(transform_points(grid.affine, np.array(center)).tolist()), float(mean))
        for k, center, mean in zip(kept, centers, means, strict=True)
    ]
    mask = np.isin(pieces, kept).astype(np.uint8)
    return mask, sorted(lesions, key=lambda lesion: -lesion.volume)


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected lesion of a mask.

    Parameters
    ----------
    mask : ndarray, shape (X, Y, Z)
        More than 0 in lesions.

    Returns
    -------
    ndarray of uint8, shape (X, Y, Z)
        1 in the lesion.

    Examples
    --------
    >>> largest(np.array([[[0, 1, 1, 0, 1]]])).tolist()
    [[[0, 1, 1, 0, 0]]]
    """
    pieces, count = ndimage.label(mask > 0, ndimage.generate_binary_structure(3, 3))
    most = np.bincount(pieces.ravel())[1:].argmax() + 1 if count else 1
    return (pieces == most).astype(np.uint8)
