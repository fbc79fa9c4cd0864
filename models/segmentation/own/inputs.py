"""Inputs of networks that were trained on images with labels of a user, in training and afterwards.

The entry ``inputs`` of the model card says what the network sees: ``frame`` (``box``: the box of the brain;
``cascade``: as the shipped network of structures, with coordinates and the posteriors of a coarse network),
``sampler`` with ``axes``, ``image`` (``brain``, or ``head``: not masked), ``normalize``, ``contrasts``,
``margin`` (mm), ``bias`` (``corrected`` or ``acquired``: whether the chain corrects the images first),
``tissues`` (the population whose segmentation by the program the network sees beside the image, or none).
The entry ``spacing`` is a voxel size, or the word for that of every image (:data:`ACQUIRED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...geometry.volume import Grid, Volume, box, resample, transform_points
from ...localization import head
from ...preprocessing.intensity import NORMALIZATIONS
from .. import fusion, refinement
from .tissues import CHANNELS

DEFAULTS: dict[str, Any] = {
    "frame": "box",
    "sampler": "patches",
    "axes": [2],
    "image": "brain",
    "normalize": "robust",
    "contrasts": ["T1w"],
    "margin": 6.0,
    "bias": "corrected",
    "tissues": None,
}
"""Values of ``inputs`` that a card or recipe does not have."""


ACQUIRED = "acquired"
"""Voxel size of a network that sees every first image on its own voxels, also oblique ones: nothing is
interpolated but images of further contrasts."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a network.

    Attributes
    ----------
    grid : Grid
        Upright grid.
    x : Tensor, shape (C, X, Y, Z)
        Normalized images, in the cascade coordinates, and the tissues that the network sees.
    prior : Tensor, shape (P, X/2, Y/2, Z/2), or None
        Posteriors of the coarse network, in the cascade.
    """

    grid: Grid
    x: Tensor
    prior: Tensor | None = None


def specification(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry ``inputs`` of a card with all of its values."""
    return DEFAULTS | dict(card.get("inputs") or {})


def as_acquired(card: Mapping[str, Any]) -> bool:
    """Return whether a network of labels sees images without correction of their bias.

    Examples
    --------
    >>> as_acquired({"inputs": {"bias": "acquired"}}), as_acquired({})
    (True, False)
    """
    return bool(specification(card)["bias"] == "acquired")


def sees_tissues(card: Mapping[str, Any]) -> bool:
    """Return whether a network of labels sees the program's own tissues beside the images.

    Examples
    --------
    >>> sees_tissues({"inputs": {"tissues": "adult"}}), sees_tissues({})
    (True, False)
    """
    return bool(specification(card)["tissues"])


def box_grid(brain: Volume, spacing: float | Sequence[float], margin: float) -> Grid:
    """Return the upright grid around a mask; where voxels have its size, it goes through their centers.

    Parameters
    ----------
    brain : Volume
        More than 0 in the brain, not empty.
    spacing : float or sequence of float
        Voxel size (mm), of all axes or of each (left-right, back-front, down-up).
    margin : float
        Margin (mm).
    """
    size = np.broadcast_to(np.asarray(spacing, float), (3,))
    index = np.argwhere(brain.data.numpy() > 0)
    corners = np.stack([index.min(0), index.max(0)])
    every = np.array(
        [[corners[i, 0], corners[j, 1], corners[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    points = transform_points(brain.affine, every)
    low, high = points.min(0) - margin, points.max(0) + margin
    upright = np.abs(brain.affine[:3, :3])
    for axis in range(3):
        row = upright[axis]
        if np.isclose(row.max(), size[axis], atol=1e-3) and np.isclose(row.sum(), row.max(), atol=1e-3):
            offset = brain.affine[axis, 3] % size[axis]
            low[axis] = np.floor((low[axis] - offset) / size[axis] + 1e-4) * size[axis] + offset
    count = np.ceil((high - low) / size - 1e-4).astype(int) + 1
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = low
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def own_grid(brain: Volume, margin: float) -> Grid:
    """Return the box around a mask on its own voxels, with axes in the order of the body's, oblique or not.

    Parameters
    ----------
    brain : Volume
        More than 0 in the brain, not empty.
    margin : float
        Margin (mm).
    """
    brain = brain.canonical()
    return brain.crop(*box(brain, margin)).grid


def _multiple(grid: Grid, stride: int) -> Grid:
    """Return an upright grid with more voxels at both ends, so that a stride divides their number."""
    shape = [-(-n // stride) * stride for n in grid.shape]
    first = [(more - n) // 2 for more, n in zip(shape, grid.shape, strict=True)]
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(first)
    return Grid((shape[0], shape[1], shape[2]), affine)


def inputs(
    images: Sequence[Volume],
    brain: Volume,
    spec: Mapping[str, Any],
    spacing: float | str | Sequence[float],
    *,
    stride: int = 2,
    coarse: str | None = None,
    device: str = "cpu",
    notes: list[str] | None = None,
    tissues: Sequence[Volume] = (),
) -> Inputs:
    """Return the inputs of a network.

    Parameters
    ----------
    images : sequence of Volume
        One image for each contrast of the network, on any grids.
    brain : Volume
        Brain mask, on the grid of the first image; for a network of the brain mask its box.
    spec : mapping
        Values of :data:`DEFAULTS`.
    spacing : float, sequence of float or str
        Voxel size (mm), or :data:`ACQUIRED`: the voxels of the first image.
    stride : int
        Number that divides the sides of the network's input, for the cascade.
    coarse : str, optional
        Coarse network of the cascade.
    device : str
        Device of the coarse network.
    notes : list of str, optional
        Notes on the results are appended.
    tissues : sequence of Volume
        The program's tissues, as :func:`brainseg.models.segmentation.own.tissues.channels` returns them.

    Raises
    ------
    InputError
        If the mask is empty, the coarse network finds no brain, or the tissues are missing.
    """
    _check(brain, spec, tissues)
    if spec["frame"] == "box":
        return _in_box(images, brain, spec, spacing, tissues)
    assert not isinstance(spacing, str), "recipes refuse acquired voxels in the cascade"
    masked = images[0].with_data(torch.where(brain.data > 0, images[0].data.float(), 0.0))
    found = head.find(masked, model=str(coarse), device=device, notes=notes)
    if np.ndim(spacing) == 0:
        made = fusion.network_inputs(masked, brain, found, float(np.mean(spacing)), stride)
    else:
        grid = _multiple(box_grid(brain, spacing, float(spec["margin"])), stride)
        made = refinement.inputs_on(grid, masked, found)
    return Inputs(made.grid, torch.cat([made.image[None], made.coordinates]), made.context)


def _in_box(
    images: Sequence[Volume],
    brain: Volume,
    spec: Mapping[str, Any],
    spacing: float | str | Sequence[float],
    tissues: Sequence[Volume],
) -> Inputs:
    """Return the inputs in the frame ``box``."""
    if isinstance(spacing, str):
        grid = own_grid(brain, float(spec["margin"]))
    else:
        grid = box_grid(brain, spacing, float(spec["margin"]))
    inside = resample(brain.with_data((brain.data > 0).float()), grid).data > 0.5
    channels = []
    for image in images:
        on_grid = resample(image.with_data(image.data.float()), grid).data
        counts = inside if spec["image"] == "brain" else on_grid != 0
        channels.append(NORMALIZATIONS[spec["normalize"]](on_grid, counts))
    if spec["tissues"]:
        channels += [resample(tissue, grid).data for tissue in tissues]
    return Inputs(grid, torch.stack(channels))


def _check(brain: Volume, spec: Mapping[str, Any], tissues: Sequence[Volume]) -> None:
    """Refuse an empty mask, and no tissues for a network that sees them."""
    if not bool((brain.data > 0).any()):
        raise InputError(None, "the brain mask is empty", "Check the mask")
    if spec["tissues"] and len(tissues) != len(CHANNELS):
        reason = "the network sees the tissues of the program's own segmentation, and there are none"
        raise InputError(None, reason, "Use it in brainseg-bids or with brainseg segment --model")
