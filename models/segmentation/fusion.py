"""Probabilities of a brain's structures from the network, an atlas and the scan's intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry.regions import most_likely
from ..geometry.volume import Grid, Volume, lattice, resample
from ..localization import head
from ..networks import zoo
from ..population.labels import LabelTable
from . import deformable_atlas, refinement
from .grids import brain_grid, covering
from .intensity import gaussian_mixture, places

ROUGH = 2.0
"""Voxel size (mm) at which an atlas is deformed to the scan."""

MARGIN = 6.0
"""Margin (mm) around the coarse brain."""

SMOOTHING = 0.4
"""Share of the neighborhood's mean in every voxel's posteriors: a light Markov random field."""

NEGLIGIBLE = 0.1
"""Posterior below which a structure is absent from a voxel. The priors' floors, added up over a brain, would
otherwise double the volume of a small structure."""


def fine(
    masked: Volume,
    mask: Volume,
    coarse: head.Coarse,
    model: str,
    device: str,
    *,
    mirrored: int = 1,
    notes: list[str] | None = None,
) -> Volume:
    """Return the fine network's posteriors in the brain's box, at its own voxel size.

    Parameters
    ----------
    masked : Volume
        The scan, zero outside the brain.
    mask : Volume
        The brain.
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
    inputs = network_inputs(masked, mask, coarse, loaded.card["spacing"], loaded.stride)
    return refinement.posteriors(loaded, inputs, device, mirrored=mirrored, notes=notes)


def network_inputs(
    masked: Volume, mask: Volume, coarse: head.Coarse, spacing: float, stride: int
) -> refinement.NetworkInputs:
    """Return a fine network's inputs in the brain's box.

    Parameters
    ----------
    masked, mask, coarse
        As for :func:`fine`.
    spacing : float
        Voxel size (mm).
    stride : int
        Factor of the number of voxels along every axis.
    """
    grid = covering(brain_grid(masked, coarse.distance, spacing, MARGIN, stride), mask, stride)
    return refinement.inputs_on(grid, masked, coarse)


@dataclass(frozen=True)
class Scan:
    """Intensities of a brain on a grid.

    Attributes
    ----------
    grid : Grid
        The grid.
    inside : Tensor of bool, shape (X, Y, Z)
        The brain.
    intensities : Tensor, shape (N,)
        Intensities of the brain's voxels.
    """

    grid: Grid
    inside: Tensor
    intensities: Tensor

    @property
    def image(self) -> Volume:
        """Return the intensities as an image, zero outside the brain."""
        out = torch.zeros(self.grid.shape)
        out[self.inside] = self.intensities
        return Volume(out, self.grid.affine)

    def on(self, grid: Grid) -> Scan:
        """Return the intensities on a coarser grid.

        Parameters
        ----------
        grid : Grid
            The coarser grid.

        Returns
        -------
        Scan
            Intensities on that grid.
        """
        inside = Volume(self.inside.float(), self.grid.affine)
        return sample(self.image, inside, grid)


def sample(masked: Volume, mask: Volume, grid: Grid) -> Scan:
    """Return the intensities of a brain on a grid.

    Parameters
    ----------
    masked : Volume
        The scan, zero outside the brain.
    mask : Volume
        The brain.
    grid : Grid
        The grid.
    """
    image = resample(masked.canonical(), grid, mode="cubic").data
    inside = resample(mask.with_data(mask.data.float()), grid).data > 0.5
    return Scan(grid, inside, image[inside])


def fitted(
    scan: Scan,
    prior: Volume,
    table: LabelTable,
    likelihood: bool,
    notes: list[str],
    fluid: float | None = None,
    *,
    partial_volume: bool = False,
) -> Volume:
    """Return the posteriors of the structures on a scan's grid; outside the brain is background.

    Parameters
    ----------
    scan : Scan
        Intensities.
    prior : Volume, shape (C, X, Y, Z)
        Probabilities without the intensities, on any grid.
    table : LabelTable
        Names of the ``C`` structures.
    likelihood : bool
        Whether the intensities are fitted.
    notes : list of str
        Notes on the results are appended.
    fluid : float, optional
        Largest variance of fluid's intensities, relative to white matter's.
    partial_volume : bool
        Whether the classes have partial volume at their borders.

    Returns
    -------
    Volume, shape (C, X, Y, Z)
        Probabilities that sum to one in every voxel.
    """
    same = prior.grid.shape == scan.grid.shape and np.array_equal(prior.affine, scan.grid.affine)
    maps = prior.data if same else resample(prior, scan.grid).data
    values = maps[:, scan.inside]
    far = places.far_off(maps, scan.inside, table.unsided, scan.grid.spacing) if likelihood else None
    del maps
    values[0] += (1 - values.sum(0)).clamp(min=0)
    # A brain has no background: its voxels become CSF or the next likely structure.
    values[table.unsided.index(24)] += 0.1 * values[0]
    values[0] *= 0.0
    values /= values.sum(0).clamp(min=1e-6)
    if likelihood:
        fit = _fit(scan, values, table, fluid, far, partial_volume)
        values = fit.posteriors
        if fit.weight == 0:
            notes.append(
                "Gray and white matter have nearly equal intensities in this scan: "
                "only the network separates them."
            )
    full = torch.zeros(len(values), *scan.grid.shape)
    full[:, scan.inside] = values
    if likelihood:
        full = gaussian_mixture.smoothed(full, scan.inside, SMOOTHING)
    full[0] = (~scan.inside).float()
    full[1:, ~scan.inside] = 0
    return Volume(full, scan.grid.affine)


def _fit(
    scan: Scan,
    prior: Tensor,
    table: LabelTable,
    fluid: float | None,
    far: Tensor | None,
    partial_volume: bool,
) -> gaussian_mixture.Fit:
    """Return the classes fitted to a scan's intensities."""
    y, structures, inside = scan.intensities, table.unsided, scan.inside
    if not partial_volume:
        return gaussian_mixture.fit(y, prior, structures, fluid=fluid, far=far)
    return gaussian_mixture.fit_with_partial_volume(y, prior, structures, fluid=fluid, far=far, inside=inside)


def with_shapes(
    name: str,
    network: Volume,
    prior: Volume,
    scan: Scan,
    to_atlas: np.ndarray,
    table: LabelTable,
    likelihood: bool,
    fluid: float | None = None,
) -> Volume:
    """Return ``prior`` (changed in place) joined with an atlas that is deformed to the scan.

    The atlas is deformed on a coarse grid, twice: the second time to posteriors that it has improved itself.

    Parameters
    ----------
    name : str
        Name of the atlas.
    network, prior : Volume, shape (C, X, Y, Z)
        Posteriors of the network on its own grid and on the scan's.
    scan : Scan
        Intensities, on an upright grid.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    table : LabelTable
        Names of the ``C`` structures.
    likelihood, fluid
        As for :func:`fitted`.
    """
    rough = scan.on(lattice(scan.grid, ROUGH))
    so_far = resample(network, rough.grid)
    image = scan.image
    deformed = deformable_atlas.place(deformable_atlas.load(name), to_atlas, rough.grid)
    deformed = deformable_atlas.deform(
        deformed, image, fitted(rough, so_far, table, likelihood, [], fluid), deformable_atlas.OPTIONS
    )
    so_far = _joined(so_far, deformed)
    deformed = deformable_atlas.deform(
        deformed, image, fitted(rough, so_far, table, likelihood, [], fluid), deformable_atlas.AGAIN
    )
    return _joined(prior, deformed)


def _joined(prior: Volume, deformed: deformable_atlas.DeformedAtlas) -> Volume:
    """Return ``prior`` (changed in place) joined with an atlas, in the part that the atlas covers."""
    shapes = deformed.probabilities(prior.grid)
    return refinement.blend(prior, deformable_atlas.joined(resample(prior, shapes.grid), shapes))


def without_tails(posteriors: Tensor) -> Tensor:
    """Set negligible posteriors to zero; the others sum to one.

    Parameters
    ----------
    posteriors : Tensor, shape (C, X, Y, Z)
        Probabilities; changed in place.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        The changed posteriors.
    """
    least = posteriors.amax(0).clamp(max=NEGLIGIBLE)
    total = torch.zeros_like(least)
    for values in posteriors:
        values.mul_(values >= least)
        total += values
    return posteriors.div_(total.clamp(min=1e-6))


def without_strays(posteriors: Tensor, left: Tensor, table: LabelTable) -> Tensor:
    """Reduce the posteriors of small components apart from a structure's main component.

    A structure with ``one`` in the column ``pieces`` keeps its largest component per side; others lose
    components smaller than a fifth of the largest.

    Parameters
    ----------
    posteriors : Tensor, shape (C, X, Y, Z)
        Probabilities; changed in place.
    left : Tensor, shape (X, Y, Z)
        Log odds of left against right.
    table : LabelTable
        Names of the ``C`` structures.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        The changed posteriors.
    """
    hard = most_likely(posteriors).numpy()
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
