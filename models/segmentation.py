"""Segmentation of the brain into structures and tissues.

Coarse to fine: the whole brain at 3 mm, then in its box with the coarse posteriors as context, then the
scan's own intensities at 1 mm (:mod:`brainseg.models.em`). Structures are predicted without side; the
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

from . import atlas, cascade, coarse, em, inference, labels, zoo
from .errors import InputError, UsageError
from .skullstrip import brain_grid
from .volume import Grid, Volume, box, coordinate_channels, lattice, resample

WORKING = 1.0
"""Voxel size (mm) at which the scan's intensities decide."""

ROUGH = 2.0
"""Voxel size (mm) at which an atlas is bent to the scan."""

MARGIN = 6.0
"""Margin (mm) around the coarse brain."""

SMOOTHING = 0.4
"""Share of the neighbourhood's mean in every voxel's posteriors: a light Markov random field."""

DSEG_NAMES = ("GM", "WM", "CSF")


@dataclass(frozen=True)
class SegmentationResult:
    """A segmented brain; all volumes lie on the input's grid.

    Attributes
    ----------
    structures : Volume, int16
        FreeSurfer ids.
    tissue : Volume, uint8
        Position in :data:`brainseg.models.labels.TISSUES`.
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
    from . import upright  # it builds on this module

    if upright.serves(coarse_model):
        chosen = {"device": device, "model": model, "coarse_model": coarse_model}
        return upright.segment(volume, mask, likelihood=likelihood, label_table=label_table, **chosen)
    inside = mask.data > 0
    masked = volume.with_data(torch.where(inside, volume.data - _floor(volume.data[inside]), 0.0))
    notes: list[str] = []
    seen = coarse.look(masked, model=coarse_model, device=device, notes=notes)
    table = labels.load(zoo.load_once(model, device).card["label_table"])
    prior = fine_posteriors(masked, mask, seen, model, device, flip=accurate, notes=notes)
    grid = _covering(brain_grid(masked, seen, WORKING, MARGIN, 1), mask)
    prior = resample(prior, grid)
    further = zoo.load_once(model, device).card.get("finer")
    if further:
        prior = cascade.blend(prior, cascade.look(masked, seen, further, device, flip=accurate, notes=notes))
    shapes = zoo.load_once(model, device).card.get("atlas")
    if shapes:
        prior = _with_shapes(shapes, prior, masked, mask, seen, table, likelihood)
    posteriors = posteriors_at(grid, masked, mask, prior, table, likelihood, notes)
    left = _side(seen, grid)
    posteriors.data[:] = without_strays(posteriors.data, left.data, table)
    if seen.error > 6:
        notes.append(
            f"The structures lie {seen.error:.1f} mm off their usual places: look at the segmentation."
        )
    result = on_input(volume, mask, posteriors, left, table, notes)
    name = zoo.load_once(model, device).card["label_table"]
    return replace(result, posteriors=posteriors, label_table=name)


def _with_shapes(
    name: str,
    prior: Volume,
    masked: Volume,
    mask: Volume,
    seen: coarse.Coarse,
    table: labels.LabelTable,
    likelihood: bool,
) -> Volume:
    """The network's posteriors (changed in place) joined with an atlas bent to them and to the scan."""
    rough = _covering(brain_grid(masked, seen, ROUGH, MARGIN, 1), mask)
    bent = atlas.place(atlas.load(name), seen.to_atlas, prior.grid)
    network = resample(prior, bent.fine)
    network = network.with_data(network.data.clone())
    for options in (atlas.OPTIONS, atlas.AGAIN):
        so_far = posteriors_at(rough, masked, mask, prior, table, likelihood, [])
        bent = atlas.bend(bent, masked, so_far, options)
        prior = cascade.blend(prior, atlas.joined(network, bent.probabilities()))
    return prior


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
    kept = [k for k, index in enumerate(table.unsided) if index]
    out = np.empty((*volume.grid.shape, len(kept)), np.float32)
    for place, k in enumerate(kept):
        part = Volume(result.posteriors.data[k], result.posteriors.affine)
        out[..., place] = resample(part, volume.grid).data.numpy()
    indices = [table.unsided[k] for k in kept]
    return indices, [table[i].name.removeprefix("Left-") for i in indices], out


def fine_posteriors(
    masked: Volume,
    mask: Volume,
    seen: coarse.Coarse,
    model: str,
    device: str,
    *,
    flip: bool = False,
    notes: list[str] | None = None,
) -> Volume:
    """Posteriors of the fine network in the brain's box, at its own voxel size."""
    loaded = zoo.load_once(model, device)
    given = network_inputs(masked, mask, seen, loaded.card["spacing"], loaded.network.stride)
    found = inference.posteriors(
        loaded.network, given.image, given.coordinates, given.context, device, flip=flip, notes=notes
    )
    return Volume(found, given.grid.affine)


def network_inputs(
    masked: Volume, mask: Volume, seen: coarse.Coarse, spacing: float, stride: int
) -> cascade.NetworkInputs:
    """Image, coordinates and the coarse network's posteriors in the brain's box."""
    return cascade.inputs_on(
        _covering(brain_grid(masked, seen, spacing, MARGIN, stride), mask, stride), masked, seen
    )


def _covering(grid: Grid, mask: Volume, stride: int = 1) -> Grid:
    """``grid`` (upright), grown by multiples of ``stride`` where the mask reaches beyond it."""
    start, shape = box(mask, 0.0)
    affine = mask.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(start)
    corners = Grid(shape, affine).corners()
    first = (corners.min(0) - grid.affine[:3, 3]) / grid.spacing
    last = (corners.max(0) - grid.affine[:3, 3]) / grid.spacing
    before = np.ceil(np.maximum(0, -first) / stride - 1e-4).astype(int) * stride
    after = np.ceil(np.maximum(0, last + 1 - np.array(grid.shape)) / stride - 1e-4).astype(int) * stride
    grown = grid.affine.copy()
    grown[:3, 3] -= grid.spacing * before
    x, y, z = (int(n) for n in np.array(grid.shape) + before + after)
    return Grid((x, y, z), grown)


def _floor(values: Tensor) -> float:
    """Level below all intensities in the brain, so that zero outside of it is darkest."""
    return min(float(values.min()), 0.0)


def posteriors_at(
    grid: Grid, masked: Volume, mask: Volume, prior: Volume, table, likelihood: bool, notes: list[str]
) -> Volume:
    """Posteriors at the working voxel size; all background outside the mask."""
    image = resample(masked.canonical(), grid, mode="cubic").data
    inside = resample(mask.with_data(mask.data.float()).canonical(), grid).data > 0.5
    brought = resample(prior, grid).data[:, inside]
    brought[0] += (1 - brought.sum(0)).clamp(min=0)
    # In the brain there is no background: what the network takes for it is fluid, or whatever comes next.
    fluid = table.unsided.index(24)
    brought[fluid] += 0.1 * brought[0]
    brought[0] *= 0.0
    brought /= brought.sum(0).clamp(min=1e-6)
    if likelihood:
        fitted = em.fit(image[inside], brought, table.unsided)
        brought = fitted.posteriors
        if fitted.weight == 0:
            notes.append(
                "Grey and white matter have nearly the same intensity in this scan: "
                "which is which, the network alone says."
            )
    full = torch.zeros(len(brought), *grid.shape)
    full[:, inside] = brought
    if likelihood and SMOOTHING:
        full = em.smoothed(full, inside, SMOOTHING)
    full[0] = (~inside).float()
    full[1:, ~inside] = 0
    return Volume(full, grid.affine)


def _side(seen: coarse.Coarse, grid: Grid) -> Volume:
    """Log odds of left against right: the coarse network's, and far from the middle the coordinate's."""
    logit = resample(seen.left, grid).data
    x = coordinate_channels(grid, seen.to_atlas, 1.0)[0]
    return Volume(logit - x / 4, grid.affine)


def without_strays(posteriors: Tensor, left: Tensor, table: labels.LabelTable) -> Tensor:
    """Take the structures away where they form specks apart from their main body.

    What is one body on either side (the table's column ``pieces``) keeps its largest component only; of
    others those go that are smaller than a fifth of it.
    """
    hard = posteriors.argmax(0).numpy().astype(np.uint8)
    halves = (left > 0).numpy()
    for k, where in enumerate(ndimage.find_objects(hard, len(posteriors) - 1), 1):
        if where is None:
            continue
        part, side = hard[where] == k, halves[where]
        least = 1.0 if table[table.unsided[k]].pieces == "one" else 0.2
        stray = np.zeros_like(part)
        for half_mask in (part & side, part & ~side):
            pieces, count = ndimage.label(half_mask)
            if count > 1:
                size = np.bincount(pieces.ravel())
                size[0] = 0
                small = size < least * size.max()
                small[0] = False
                stray |= small[pieces]
        if stray.any():
            posteriors[k][where][torch.from_numpy(stray)] *= 0.01
    return posteriors


def on_input(
    volume: Volume, mask: Volume, posteriors: Volume, left: Volume, table: labels.LabelTable, notes: list[str]
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
    tissues = torch.zeros(len(DSEG_NAMES), *shape)
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
    for name, values in zip(DSEG_NAMES, tissues, strict=True):
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


def working_grid(volume: Volume) -> Grid:
    """The lattice on which a scan is worked on, for those who want to look inside."""
    return lattice(volume, WORKING)
