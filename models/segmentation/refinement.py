"""Fine networks with the coarse posteriors as context, and an optional one for the middle of the brain.

Small structures need a finer resolution, which is too slow for a whole brain: the box is a tenth of a head.
The segmentation network's card names the box's network (``finer``); the box's position and size are in that
network's own card (``offset``, ``shape``). At the faces of the box its posteriors blend into those of the
whole brain.
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
from .grids import half

EDGE, FADE = 3.0, 6.0
"""Distance (mm) from the box's faces with weight zero, and length (mm) over which the weight rises to one."""


@dataclass(frozen=True)
class NetworkInputs:
    """Inputs of a fine network.

    Attributes
    ----------
    grid : Grid
        Grid of the image.
    image : Tensor, shape (X, Y, Z)
        Normalized intensities.
    coordinates : Tensor, shape (3, X, Y, Z)
        Position in the atlas frame.
    context : Tensor, shape (C, X / 2, Y / 2, Z / 2)
        Posteriors of the coarse network.
    """

    grid: Grid
    image: Tensor
    coordinates: Tensor
    context: Tensor


def inputs_on(grid: Grid, masked: Volume, coarse: head.Coarse) -> NetworkInputs:
    """Return the inputs of a fine network on a grid.

    Parameters
    ----------
    grid : Grid
        Grid of the network.
    masked : Volume
        The scan, zero outside the brain.
    coarse : Coarse
        Result of the coarse network.
    """
    image = normalize(resample(masked, grid).data)
    context = resample(coarse.structures, half(grid)).data
    # Outside the coarse window is background.
    context[0] += (1 - context.sum(0)).clamp(min=0)
    coordinates = coordinate_channels(grid, coarse.to_atlas, inference.COORDINATE_SCALE)
    return NetworkInputs(grid, image, coordinates, context)


def box_posteriors(
    masked: Volume,
    coarse: head.Coarse,
    model: str,
    device: str,
    *,
    mirrored: int = 1,
    notes: list[str] | None = None,
) -> Volume:
    """Return a fine network's posteriors in its box, on the scan's lattice.

    Parameters
    ----------
    masked : Volume
        The scan, zero outside the brain.
    coarse : Coarse
        Result of the coarse network.
    model : str
        Weights.
    device : str
        Device of the network.
    mirrored : int
        Number of passes, the last ones, that are averaged with those of the mirror image.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, shape (C, X, Y, Z)
        Probabilities of the unsided structures.
    """
    loaded = zoo.load_once(model, device)
    inputs = inputs_on(box(masked, coarse, loaded.card), masked, coarse)
    return posteriors(loaded, inputs, device, mirrored=mirrored, notes=notes)


def posteriors(
    model: zoo.Model,
    inputs: NetworkInputs,
    device: str,
    *,
    mirrored: int = 1,
    notes: list[str] | None = None,
) -> Volume:
    """Return a fine network's posteriors.

    Parameters
    ----------
    model : Model
        The network.
    inputs : NetworkInputs
        Its inputs.
    device : str
        Device of the network.
    mirrored : int
        Number of passes, the last ones, that are averaged with those of the mirror image.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, shape (C, X, Y, Z)
        Probabilities of the unsided structures.
    """
    found = inference.posteriors(
        model.network,
        inputs.image,
        inputs.coordinates,
        inputs.context,
        device,
        mirrored=mirrored,
        passes=model.card.get("looks", 1),
        notes=notes,
    )
    return Volume(found, inputs.grid.affine)


def box(masked: Volume, coarse: head.Coarse, card: dict) -> Grid:
    """Return a network's box: the card's shape around the card's point of the atlas frame.

    Parameters
    ----------
    masked : Volume
        The scan.
    coarse : Coarse
        Result of the coarse network.
    card : dict
        Card with ``spacing``, ``shape`` and ``offset``.

    Returns
    -------
    Grid
        The box on the scan's lattice.
    """
    spacing, shape = card["spacing"], tuple(card["shape"])
    fine = lattice(masked, spacing)
    middle = transform_points(np.linalg.inv(coarse.to_atlas), np.array(card["offset"]))
    first = np.round((middle - fine.affine[:3, 3]) / spacing - (np.array(shape) - 1) / 2)
    affine = fine.affine.copy()
    affine[:3, 3] += first * spacing
    return Grid(shape, affine)


def blend(whole: Volume, part: Volume) -> Volume:
    """Return ``whole`` with ``part`` blended into its box; both are on one lattice.

    Parameters
    ----------
    whole, part : Volume, shape (C, X, Y, Z)
        Probabilities of the same structures; ``whole`` is changed in place.
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
    """Return the weight along an axis: 0 at the ends, 1 in the middle."""
    from_end = torch.minimum(torch.arange(count), torch.arange(count).flip(0)) * spacing
    return ((from_end - EDGE) / FADE).clamp(0, 1)
