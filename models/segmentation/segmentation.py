"""Segmentation of the brain into structures and tissues.

Coarse to fine: the whole brain at 3 mm, then in its box with the coarse posteriors as context, then the
scan's own intensities at 1 mm (:mod:`brainseg.models.segmentation.gaussian_mixture`). Structures are
predicted without side; the
coarse network says which half is left. Results come back on the grid of the input by interpolating
probabilities, never labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import InputError, UsageError
from ..geometry.volume import Grid, Volume, coordinate_channels, resample
from ..localization import head
from ..networks import zoo
from ..networks.malloc import kept
from ..population import labels
from ..population.labels import LabelTable
from . import fusion as posteriors
from . import refinement
from .skullstrip import brain_grid

WORKING = 1.0
"""Voxel size (mm) at which the scan's intensities decide."""

FLUID = 1.0
"""Largest variance of fluid's intensities, in parts of white matter's; chosen on synthetic heads."""


@dataclass(frozen=True)
class SegmentationResult:
    """A segmented brain; all volumes lie on the input's grid.

    Attributes
    ----------
    structures : Volume, int16
        FreeSurfer ids.
    tissue : Volume, uint8
        Position in :data:`brainseg.models.population.labels.TISSUES`.
    probabilities : dict of str to Volume
        ``GM``, ``WM`` and ``CSF``, float32.
    volumes : dict of int to float
        Soft volume (mm3) by FreeSurfer id: probabilities summed.
    centroids : dict of int to tuple
        Centre (mm) by FreeSurfer id.
    notes : list of str
        What a reader of the result should know.
    uncertainty : dict of int to float
        By FreeSurfer id the mean over the voxels that carry it of the posteriors' entropy, divided by its
        largest possible value: 0 sure, 1 every structure equally likely. Structures without a voxel have
        none.
    posteriors : Volume, shape (C, X, Y, Z), or None
        Probabilities of the label table's unsided structures at the working voxel size.
    label_table : str
        Name of that table.
    """

    structures: Volume
    tissue: Volume
    probabilities: dict[str, Volume]
    volumes: dict[int, float]
    centroids: dict[int, tuple[float, float, float]]
    notes: list[str] = field(default_factory=list)
    uncertainty: dict[int, float] = field(default_factory=dict)
    posteriors: Volume | None = None
    label_table: str = "adult"


def segment(
    volume: Volume,
    mask: Volume,
    *,
    device: str = "cpu",
    model: str = "segmentation",
    coarse_model: str = "head-coarse",
    likelihood: bool = True,
    accurate: bool = False,
    label_table: str | None = None,
) -> SegmentationResult:
    """Segment a brain.

    Parameters
    ----------
    volume : Volume
        Bias-corrected scan of any contrast.
    mask : Volume
        The brain, on the same grid.
    device : str
        Where to compute.
    model, coarse_model : str
        Weights of the fine network, and those that find the brain.
    likelihood : bool
        Whether the scan's own intensities are fitted.
    accurate : bool
        Whether the fine network also looks at the mirror image.
    label_table : str, optional
        A coarser table than the network's own, in which parts count to their wholes.

    Raises
    ------
    InputError
        If the mask is empty or what it holds is no brain.
    """
    if not bool((mask.data > 0).any()):
        raise InputError(None, "its brain mask is empty", "Look at the mask")
    from . import atlas_frame

    with kept():
        if atlas_frame.serves(coarse_model):
            chosen = {"device": device, "model": model, "coarse_model": coarse_model}
            return atlas_frame.segment(volume, mask, likelihood=likelihood, label_table=label_table, **chosen)
        return _segment(volume, mask, device, model, coarse_model, likelihood, accurate)


def _segment(
    volume: Volume,
    mask: Volume,
    device: str,
    model: str,
    coarse_model: str,
    likelihood: bool,
    accurate: bool,
) -> SegmentationResult:
    """Of a head that lies as heads do; see :func:`segment`."""
    inside = mask.data > 0
    masked = volume.with_data(torch.where(inside, volume.data - _floor(volume.data[inside]), 0.0))
    notes: list[str] = []
    seen = head.look(masked, model=coarse_model, device=device, notes=notes)
    card = zoo.load_once(model, device).card
    table = labels.load(card["label_table"])
    network = posteriors.fine(masked, mask, seen, model, device, flip=accurate, notes=notes)
    grid = posteriors.covering(brain_grid(masked, seen, WORKING, posteriors.MARGIN, 1), mask)
    prior = resample(network, grid)
    if further := card.get("finer"):
        prior = refinement.blend(
            prior, refinement.look(masked, seen, further, device, flip=accurate, notes=notes)
        )
    scan = posteriors.look(masked, mask, grid)
    if shapes := card.get("atlas"):
        prior = posteriors.with_shapes(shapes, network, prior, scan, seen.to_atlas, table, likelihood, FLUID)
    found = posteriors.fitted(scan, prior, table, likelihood, notes, FLUID)
    left = _side(seen, grid)
    found.data[:] = posteriors.without_strays(found.data, left.data, table)
    if seen.error > 6:
        notes.append(
            f"The structures lie {seen.error:.1f} mm off their usual places: look at the segmentation."
        )
    result = on_input(volume, mask, found, left, table, notes)
    return replace(result, posteriors=found, label_table=card["label_table"])


def posteriors_on(volume: Volume, result: SegmentationResult) -> tuple[list[int], list[str], np.ndarray]:
    """Ids, names and probabilities (X, Y, Z, C) of the structures, both sides together, on a scan's grid.

    Raises
    ------
    UsageError
        If the result came without posteriors.
    """
    if result.posteriors is None:
        raise UsageError(None, "this network's posteriors cannot be had", "Leave --posteriors out")
    table = labels.load(result.label_table)
    rows = [k for k, index in enumerate(table.unsided) if index]
    out = np.empty((*volume.grid.shape, len(rows)), np.float32)
    for place, k in enumerate(rows):
        part = Volume(result.posteriors.data[k], result.posteriors.affine)
        out[..., place] = resample(part, volume.grid).data.numpy()
    indices = [table.unsided[k] for k in rows]
    return indices, [table[i].name.removeprefix("Left-") for i in indices], out


def _floor(values: Tensor) -> float:
    """Level below all intensities in the brain, so that zero outside of it is darkest."""
    return min(float(values.min()), 0.0)


def _side(seen: head.Coarse, grid: Grid) -> Volume:
    """Log odds of left against right: the coarse network's, and far from the middle the coordinate's."""
    logit = resample(seen.left, grid).data
    x = coordinate_channels(grid, seen.to_atlas, 1.0)[0]
    return Volume(logit - x / 4, grid.affine)


def on_input(
    volume: Volume, mask: Volume, posteriors: Volume, left: Volume, table: LabelTable, notes: list[str]
) -> SegmentationResult:
    """Labels, tissue probabilities and volumes on the input's grid, class by class to save memory."""
    grid = volume.grid
    inside = mask.data > 0
    start, shape = _box_of(inside)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ np.array(start)
    part = Grid(shape, affine)
    window = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
    within = inside[window]
    share = resample(left, part).data.sigmoid()
    best = torch.full(shape, 1e-6)
    structure = torch.zeros(shape, dtype=torch.int16)
    total, entropy = torch.zeros(shape), torch.zeros(shape)
    tissues = torch.zeros(len(labels.DSEG_NAMES), *shape)
    sums: dict[int, float] = {}
    centres: dict[int, tuple[float, float, float]] = {}
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    for k, index in enumerate(table.unsided):
        if index == 0:
            continue
        p = resample(Volume(posteriors.data[k], posteriors.affine), part).data * within
        total += p
        entropy -= torch.xlogy(p, p)
        tissues[labels.DSEG[table[index].tissue] - 1] += p
        better = p > best
        best = torch.where(better, p, best)
        partner = table[index].partner
        sided = torch.where(share > 0.5, index, partner).to(torch.int16)
        structure = torch.where(better, sided, structure)
        for id_, weight in (
            ((index, p * share), (partner, p * (1 - share))) if partner != index else ((index, p),)
        ):
            mass = float(weight.sum())
            sums[id_] = mass * grid.voxel_volume
            if mass > 0:
                centre = [
                    float((weight.sum(tuple(a for a in range(3) if a != axis)) * axes[axis]).sum()) / mass
                    for axis in range(3)
                ]
                point = part.affine[:3, :3] @ np.array(centre) + part.affine[:3, 3]
                centres[id_] = (float(point[0]), float(point[1]), float(point[2]))
    # At the mask's edge interpolation loses a little to the background.
    tissues /= total.clamp(min=1e-3)
    structure = _filled(structure, within)
    whole = torch.zeros(grid.shape, dtype=torch.int16)
    whole[window] = structure
    uncertainty = _mean_by_label(_normalised_entropy(entropy, total, len(table.unsided)), structure)
    probabilities = {}
    for name, values in zip(labels.DSEG_NAMES, tissues, strict=True):
        out = torch.zeros(grid.shape)
        out[window] = values * within
        probabilities[name] = volume.with_data(out)
    tissue = torch.from_numpy(table.lookup("tissue"))[whole.int()]
    return SegmentationResult(
        volume.with_data(whole), volume.with_data(tissue), probabilities, sums, centres, notes, uncertainty
    )


def _normalised_entropy(entropy: Tensor, total: Tensor, classes: int) -> Tensor:
    """Entropy, in parts of its largest value, of probabilities p that sum to ``total``, not to one.

    Parameters
    ----------
    entropy : Tensor
        Sum of -p log p.
    """
    total = total.clamp(min=1e-3)
    return ((entropy / total + total.log()) / math.log(classes)).clamp(0, 1)


def _mean_by_label(values: Tensor, structure: Tensor) -> dict[int, float]:
    """Mean of ``values`` over the voxels of every label but 0."""
    flat = structure.reshape(-1).long()
    count = torch.bincount(flat)
    mean = torch.bincount(flat, weights=values.reshape(-1).double()) / count
    return {int(k): float(mean[k]) for k in count.nonzero()[:, 0] if k > 0}


def _filled(structure: Tensor, within: Tensor) -> Tensor:
    """Give voxels of the mask that no class claimed the label of the nearest that has one."""
    empty = within & (structure == 0)
    if not bool(empty.any()) or not bool((structure > 0).any()):
        return structure
    _, nearest = ndimage.distance_transform_edt(structure.numpy() == 0, return_indices=True)
    return torch.where(empty, torch.from_numpy(structure.numpy()[tuple(nearest)]), structure)


def _box_of(inside: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    found = [inside.any(dim=tuple(a for a in range(3) if a != axis)).nonzero()[:, 0] for axis in range(3)]
    start = tuple(int(f[0]) for f in found)
    return start, tuple(int(f[-1]) - s + 1 for f, s in zip(found, start, strict=True))  # type: ignore[return-value]
