"""Skull-stripping by the signed distance to the brain's surface, at 3 mm and then finer.

The regression of the distance follows SynthStrip (Hoopes et al. 2022); the final surface is the boundary of
the network's tissue, closed over the sulci. Scans with the contrast of T1- or T2-weighted ones get the mask
of :mod:`brainseg.models.segmentation.t1w_mask`, where it agrees with the coarse brain.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data import model_files
from ..errors import InputError
from ..geometry import distance as surface
from ..geometry.volume import Grid, Volume, coordinate_channels, normalize, resample
from ..localization import head, upright
from ..localization.place import Place
from ..networks import purpose, zoo
from ..networks.inference import COORDINATE_SCALE, run
from ..population import labels
from ..population.populations import Population
from . import t1w_mask
from .grids import brain_grid, half
from .masks import extent, is_stripped, largest, tidy
from .own import labels as own_labels
from .result import EXTENT, SkullStripResult

MARGIN = 12.0
"""Margin (mm) around the coarse brain for the refinement of the surface."""

FAR = 8.0
"""Distance (mm) outside the regressed surface beyond which no voxel is brain."""

DEEP = 3.0
"""Distance (mm) inside the regressed surface beyond which every voxel is brain."""

BEYOND = 20.0
"""Distance (mm) to the surface outside of what was computed."""

DEEPER = 3.0
"""Distance (mm) up to which our own mask is extended to tissue, where fluid is dark."""

AROUND = 3.0
"""Distance (mm) from the mask up to which fluid around it is kept for the segmentation."""

PLAUSIBLE = (100e3, 2600e3)
"""Brain volumes (mm3) of children and adults, cropped scans included."""


def strip(volume: Volume, record: Population, *, mode: str = "auto", device: str = "cpu") -> SkullStripResult:
    """Return the brain mask of a head in any orientation.

    Parameters
    ----------
    volume : Volume
        Scan of any contrast and voxel size.
    record : Population
        Its networks and the voxel size (mm) at which the surface is closed.
    mode : {'auto', 'skip', 'force'}
        See :func:`brainseg.models.segmentation.skullstrip.skullstrip`.
    device : str
        Device of the networks.

    Raises
    ------
    InputError
        If the scan has no brain or its volume is implausible.
    """
    notes: list[str] = []
    coarse = _located(volume, record, device, notes)
    turn = upright.check(volume, model=record.coarse, device=device, found=coarse)
    if head.is_partial(volume):
        size = head.field_of_view(volume).min()
        notes.append(
            f"The field of view ({size:.0f} mm) is too small: the results are of a part of the brain."
        )
    stripped = mode == "skip" or (mode == "auto" and is_stripped(volume, coarse.distance))
    source, around = EXTENT, None
    if stripped:
        mask = extent(volume)
    else:
        partial = head.is_partial(volume)
        found = [] if partial else _t1w(volume, coarse, record, device, notes)
        source = record.t1w_mask if found else record.skullstrip
        if not found:
            wide = head.continued(volume) if partial else volume
            found = [_widened(wide, coarse, refine(wide, coarse, record, device, notes), record)]
        higher = (one.with_data(one.data + BEYOND) for one in found)  # 0 outside
        mask, *more = (tidy(resample(one, volume.grid).data > BEYOND) for one in higher)
        around = volume.with_data(torch.from_numpy(more[0].astype(np.uint8))) if more else None
        source = model_files.title(source)
    result = volume.with_data(torch.from_numpy(mask.astype(np.uint8)))
    size = float(mask.sum()) * volume.grid.voxel_volume
    if not PLAUSIBLE[0] < size < PLAUSIBLE[1]:
        if turn is not None:
            raise InputError(None, turn.words, upright.REMEDY)
        raise InputError(
            None,
            f"implausible brain volume ({size / 1000:.0f} mL)",
            "The image seems skull-stripped; use --skull-strip force if it has a skull"
            if stripped
            else "Check the image; use --skull-strip skip if it is already skull-stripped",
        )
    misfit = "" if turn is None else turn.words
    if misfit:
        notes = [f"{misfit}. {upright.REMEDY}.", *notes]
    place = Place(coarse.distance, coarse.to_atlas)
    return SkullStripResult(result, stripped, notes, misfit, source, around, place)


def _located(volume: Volume, record: Population, device: str, notes: list[str]) -> head.Coarse:
    """Return the result of the coarse network.

    Raises
    ------
    InputError
        If the scan has no brain; the reason may be the orientation in its header.
    """
    try:
        coarse = head.find(volume, model=record.coarse, device=device, notes=notes)
        if float((coarse.distance.data > 0).sum()) * coarse.distance.grid.voxel_volume < PLAUSIBLE[0]:
            raise head.no_brain(volume)
    except InputError:
        turn = upright.check(volume, model=record.coarse, device=device)
        if turn is not None:
            raise InputError(None, turn.words, upright.REMEDY) from None
        raise
    return coarse


def _t1w(
    volume: Volume, coarse: head.Coarse, record: Population, device: str, notes: list[str]
) -> list[Volume]:
    """Return the signed distance (mm) to the surface of a T1- or T2-weighted scan's mask, and with fluid.

    Returns
    -------
    list of Volume
        Mask, and the mask and fluid around it; the mask alone if nothing was removed. Empty for other scans.
    """
    if not record.t1w_mask:
        return []
    structures = labels.load(zoo.read_card(record.coarse)["label_table"]).unsided
    image = t1w_mask.as_t1w(volume, coarse, structures)
    if image is None:
        return []
    found = t1w_mask.probability(image, coarse, record.t1w_mask, device, notes)
    if not t1w_mask.agrees(found, coarse):
        notes.append(
            "The brain mask for T1- and T2-weighted scans differs from the brain that was found first; "
            "the mask for any contrast was used instead: check it."
        )
        return []
    spacing = record.methods["skullstrip"].spacing
    grid = brain_grid(volume, coarse.distance, spacing, MARGIN, 1)
    mask = tidy(resample(found, grid).data > 0.5)
    del found
    own = refine(volume, coarse, record, device, notes, grid)
    kept = _trimmed(mask, image, grid, coarse, structures, own, notes)
    if kept is None:
        return [_surface(mask, grid, volume.grid)]
    around = mask & surface.within(kept, AROUND, spacing)
    return [_surface(part, grid, volume.grid) for part in (kept, around)]


def _trimmed(
    mask: np.ndarray,
    image: Volume,
    grid: Grid,
    coarse: head.Coarse,
    structures: tuple[int, ...],
    own: Volume,
    notes: list[str],
) -> np.ndarray | None:
    """Return the mask of a T1-weighted scan where it is continuous with our own; None if they differ."""
    inside = resample(own, grid, outside=-BEYOND).data.numpy() > 0
    kept = _continuous(mask, image, grid, coarse, structures, inside)
    if kept is None:
        notes.append(
            "The brain mask for T1- and T2-weighted scans differs from the mask for any contrast, so that "
            "fluid and bone around the brain could not be removed from it: check it."
        )
        return None
    return tidy(torch.from_numpy(kept))


def _widened(volume: Volume, coarse: head.Coarse, own: Volume, record: Population) -> Volume:
    """Return the surface of our own mask, extended to tissue beside it where fluid is dark."""
    structures = labels.load(zoo.read_card(record.coarse)["label_table"]).unsided
    if not t1w_mask.has_dark_fluid(volume, coarse, structures):
        return own
    spacing = record.methods["skullstrip"].spacing
    grid = brain_grid(volume, coarse.distance, spacing, MARGIN, 1)
    inside = resample(own.with_data(own.data + BEYOND), grid).data.numpy() > BEYOND
    around = surface.within(inside, DEEPER, spacing)
    kept = _continuous(around, volume, grid, coarse, structures, inside)
    return own if kept is None else _surface(tidy(torch.from_numpy(kept)), grid, volume.grid)


def _continuous(
    mask: np.ndarray,
    image: Volume,
    grid: Grid,
    coarse: head.Coarse,
    structures: tuple[int, ...],
    inside: np.ndarray,
) -> np.ndarray | None:
    """Return the part of a mask that is continuous with our own mask; None if they differ too much."""
    depth = resample(coarse.distance, grid, outside=-BEYOND).data.numpy()
    image = image.with_data((image.data - t1w_mask.intensity_range(image.data)[0]).clamp(min=0))
    least = t1w_mask.darkest(image, coarse, structures)
    seen = resample(image, grid).data.numpy()
    return t1w_mask.continuous(mask, seen, inside, depth, float(grid.spacing[0]), least)


def _surface(mask: np.ndarray, grid: Grid, onto: Grid) -> Volume:
    """Return the signed distance (mm) to the surface of a mask; only its sign if ``onto`` has its voxels."""
    moved = np.linalg.inv(grid.affine) @ onto.affine
    if np.allclose(moved, np.round(moved), atol=1e-4) and (np.abs(moved[:3, :3]).round() == 1).sum() == 3:
        # Nothing will be interpolated: voxels are those of the other grid, in any order of the axes.
        return Volume(torch.from_numpy(mask).float() * 2 - 1, grid.affine)
    distance = surface.signed_distance(mask, grid.spacing).astype(np.float32)
    return Volume(torch.from_numpy(distance), grid.affine)


def refine(
    volume: Volume,
    coarse: head.Coarse,
    record: Population,
    device: str,
    notes: list[str] | None = None,
    onto: Grid | None = None,
) -> Volume:
    """Return the signed distance (mm) to the brain's surface, in a box around the coarse brain.

    Parameters
    ----------
    volume : Volume
        The scan.
    coarse : Coarse
        Result of the coarse network.
    record : Population
        Its skull-stripping network and the voxel size (mm) at which the surface is closed.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.
    onto : Grid, optional
        Grid on which the surface is wanted (default: that of the scan); only the sign is right where nothing
        has to be interpolated for it.
    """
    loaded = zoo.load_once(record.skullstrip, device)
    if purpose.kind_of(loaded.card) == purpose.SUPERVISED:
        return _of_own(volume, coarse, record, device, notes, onto or volume.grid)
    grid = brain_grid(volume, coarse.distance, loaded.card["spacing"], MARGIN, loaded.stride)
    out = look(volume, coarse, loaded, grid, device, notes)
    distance = Volume(out["mask"][0] * 10, grid.affine)
    if "tissue" not in out:
        return distance
    spacing = record.methods["skullstrip"].spacing
    closing = brain_grid(volume, coarse.distance, spacing, MARGIN, 1)
    return _end_of_tissue(out["tissue"], distance, closing, onto or volume.grid)


def look(
    volume: Volume,
    coarse: head.Coarse | Place,
    loaded: zoo.Model,
    grid: Grid,
    device: str,
    notes: list[str] | None = None,
) -> dict[str, Tensor]:
    """Return what a network finds on a grid that regresses the distance to a surface: of brain or skull.

    Parameters
    ----------
    volume : Volume
        The scan.
    coarse : Coarse or Place
        Result of the coarse network.
    loaded : Model
        The network.
    grid : Grid
        Box of the brain, at the network's voxel size.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    dict of str to Tensor
        Output of every task, shape (C, X, Y, Z).
    """
    image = normalize(resample(volume, grid).data)
    context = resample(coarse.distance, half(grid)).data[None].clamp(-15, 15) / 10
    coordinates = coordinate_channels(grid, coarse.to_atlas, COORDINATE_SCALE)
    return run(loaded.network, image, coordinates, context, device, notes=notes)


def _of_own(
    volume: Volume, coarse: head.Coarse, record: Population, device: str, notes: list[str] | None, onto: Grid
) -> Volume:
    """Return the signed distance to the surface of the mask of a network that a user trained."""
    spacing = record.methods["skullstrip"].spacing
    grid = brain_grid(volume, coarse.distance, spacing, MARGIN, 1)
    box = resample(Volume(torch.ones(grid.shape), grid.affine), volume.grid)
    found = own_labels.foreground([volume], box, record.skullstrip, device, notes)
    mask = tidy(resample(found, grid).data > 0.5)
    return _surface(mask, grid, onto)


def _end_of_tissue(logits: Tensor, distance: Volume, grid: Grid, onto: Grid) -> Volume:
    """Return the signed distance to the surface of tissue and ventricles, closed over the sulci.

    The boundary of a class is sharper than a regressed distance, which is biased towards the mean head. The
    distance excludes voxels far from the brain and includes voxels deep in it.
    """
    p = logits.softmax(0)
    brain = Volume(
        1 - p[labels.TISSUES.index("background")] - p[labels.TISSUES.index("csf")], distance.affine
    )
    depth = resample(distance, grid, outside=-20.0).data
    tissue = ((resample(brain, grid).data > 0.5) & (depth > -FAR)) | (depth > DEEP)
    mask = surface.closed(largest(tissue.numpy()), spacing=float(grid.spacing[0]))
    return _surface(mask, grid, onto)
