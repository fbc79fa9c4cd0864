"""Fine networks that see what a coarse one found, and one of them for the middle of the brain at 1 mm.

Small structures want resolution, a whole brain at that resolution wants time: the box is a tenth of a head.
Which network looks there, the segmentation network's card says (``finer``); where the box lies and how large
it is, that network's own card (``offset``, ``shape``). At the box's faces its posteriors pass into those of
the whole brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.volume import (
    Grid,
    Volume,
    coordinate_channels,
    lattice,
    normalize,
    resample,
    transform_points,
)
from ..localization import head
from ..networks import inference, zoo
from .skullstrip import half

EDGE, FADE = 3.0, 6.0
"""Millimetres at the box's faces that are left out, and those over which its weight rises to one."""


@dataclass(frozen=True)
class NetworkInputs:
    """What the fine network sees, on ``grid``; the context is at half of its resolution."""

    grid: Grid
    image: Tensor
    coordinates: Tensor
    context: Tensor


def inputs_on(grid: Grid, masked: Volume, seen: head.Coarse) -> NetworkInputs:
    """What a fine network sees on a grid."""
    image = normalize(resample(masked.canonical(), grid).data)
    context = resample(seen.structures, half(grid)).data
    # Outside of the coarse window there is background.
    context[0] += (1 - context.sum(0)).clamp(min=0)
    coordinates = coordinate_channels(grid, seen.to_atlas, inference.COORDINATE_SCALE)
    return NetworkInputs(grid, image, coordinates, context)


def look(
    masked: Volume,
    seen: head.Coarse,
    model: str,
    device: str,
    *,
    flip: bool = False,
    notes: list[str] | None = None,
) -> Volume:
    """Posteriors in the box, shape (C, X, Y, Z), on the scan's lattice.

    Parameters
    ----------
    masked : Volume
        The scan, zero outside of the brain.
    seen : Coarse
        Where the brain lies, and the context.
    model : str
        Weights.
    device : str
        Where to compute.
    flip : bool
        Whether the mirror image is looked at too.
    notes : list of str, optional
        What a reader of the result should know is added.
    """
    loaded = zoo.load_once(model, device)
    given = inputs_on(box(masked, seen, loaded.card), masked, seen)
    return posteriors(loaded, given, device, flip=flip, notes=notes)


def posteriors(
    model: zoo.Model,
    given: NetworkInputs,
    device: str,
    *,
    flip: bool = False,
    notes: list[str] | None = None,
) -> Volume:
    """What a fine network makes of its inputs, shape (C, X, Y, Z); see :func:`look`."""
    looks = model.card.get("looks", 1)
    found = inference.posteriors(
        model.network,
        given.image,
        given.coordinates,
        given.context,
        device,
        flip=flip,
        looks=looks,
        notes=notes,
    )
    return Volume(found, given.grid.affine)


def box(masked: Volume, seen: head.Coarse, card: dict) -> Grid:
    """Where a network looks: its card's shape about its card's point of the atlas frame."""
    spacing, shape = card["spacing"], tuple(card["shape"])
    fine = lattice(masked, spacing)
    middle = transform_points(np.linalg.inv(seen.to_atlas), np.array(card["offset"]))
    first = np.round((middle - fine.affine[:3, 3]) / spacing - (np.array(shape) - 1) / 2)
    affine = fine.affine.copy()
    affine[:3, 3] += first * spacing
    return Grid(shape, affine)


def blend(whole: Volume, part: Volume) -> Volume:
    """``whole`` with ``part`` in its box; both on one lattice, whose shares of overlap are kept.

    Parameters
    ----------
    whole, part : Volume, shape (C, X, Y, Z)
        Probabilities of the same structures. ``whole`` is changed in place.
    """
    start = np.round((part.affine[:3, 3] - whole.affine[:3, 3]) / whole.grid.spacing).astype(int)
    inner, outer, weight = [slice(None)], [slice(None)], torch.ones(())
    for axis in range(3):
        n, size = part.data.shape[1 + axis], whole.data.shape[1 + axis]
        first, last = max(0, -start[axis]), min(n, size - start[axis])
        if first >= last:
            return whole
        inner.append(slice(first, last))
        outer.append(slice(first + start[axis], last + start[axis]))
        line = _rise(n, float(part.grid.spacing[axis]))[first:last]
        weight = weight * line.view([-1 if a == axis else 1 for a in range(3)])
    target, own = whole.data[tuple(outer)], part.data[tuple(inner)]
    target += weight * (own - target)
    return whole


def _rise(count: int, spacing: float) -> Tensor:
    """Weight along an axis: 0 at the ends, 1 in the middle."""
    from_end = torch.minimum(torch.arange(count), torch.arange(count).flip(0)) * spacing
    return ((from_end - EDGE) / FADE).clamp(0, 1)
