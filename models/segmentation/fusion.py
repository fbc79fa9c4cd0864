"""Probabilities of a brain's structures: the network's, the atlas's and what the scan's intensities say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry.volume import Grid, Volume, box, lattice, resample
from ..localization import head
from ..networks import zoo
from ..population.labels import LabelTable
from . import deformable_atlas, gaussian_mixture, refinement
from .skullstrip import brain_grid

ROUGH = 2.0
"""Voxel size (mm) at which an atlas is bent to the scan."""

MARGIN = 6.0
"""Margin (mm) around the coarse brain."""

SMOOTHING = 0.4
"""Share of the neighbourhood's mean in every voxel's posteriors: a light Markov random field."""


def fine(
    masked: Volume,
    mask: Volume,
    seen: head.Coarse,
    model: str,
    device: str,
    *,
    flip: bool = False,
    notes: list[str] | None = None,
) -> Volume:
    """Posteriors of the fine network in the brain's box, at its own voxel size."""
    loaded = zoo.load_once(model, device)
    given = network_inputs(masked, mask, seen, loaded.card["spacing"], loaded.network.stride)
    return refinement.posteriors(loaded, given, device, flip=flip, notes=notes)


def network_inputs(
    masked: Volume, mask: Volume, seen: head.Coarse, spacing: float, stride: int
) -> refinement.NetworkInputs:
    """Image, coordinates and the coarse network's posteriors in the brain's box."""
    return refinement.inputs_on(
        covering(brain_grid(masked, seen, spacing, MARGIN, stride), mask, stride), masked, seen
    )


def covering(grid: Grid, mask: Volume, stride: int = 1) -> Grid:
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


@dataclass(frozen=True)
class Scan:
    """What a scan shows on a grid.

    Attributes
    ----------
    grid : Grid
        Where it was looked at.
    inside : Tensor of bool, shape (X, Y, Z)
        The brain.
    intensities : Tensor, shape (N,)
        Of the brain's voxels.
    """

    grid: Grid
    inside: Tensor
    intensities: Tensor

    @property
    def image(self) -> Volume:
        """Intensities, zero outside of the brain."""
        out = torch.zeros(self.grid.shape)
        out[self.inside] = self.intensities
        return Volume(out, self.grid.affine)

    def on(self, grid: Grid) -> Scan:
        """The same on a coarser grid."""
        inside = Volume(self.inside.float(), self.grid.affine)
        return look(self.image, inside, grid)


def look(masked: Volume, mask: Volume, grid: Grid) -> Scan:
    """The intensities of a brain on a grid."""
    image = resample(masked.canonical(), grid, mode="cubic").data
    inside = resample(mask.with_data(mask.data.float()).canonical(), grid).data > 0.5
    return Scan(grid, inside, image[inside])


def fitted(
    scan: Scan,
    prior: Volume,
    table: LabelTable,
    likelihood: bool,
    notes: list[str],
    fluid: float | None = None,
) -> Volume:
    """Posteriors of the structures on a scan's grid; all background outside of the brain.

    Parameters
    ----------
    scan : Scan
        Intensities.
    prior : Volume, shape (C, X, Y, Z)
        What is known without them, on any grid.
    table : LabelTable
        Names of the ``C`` structures.
    likelihood : bool
        Whether the intensities count.
    notes : list of str
        What a reader of the result should know is added.
    fluid : float, optional
        Largest variance of fluid's intensities, in parts of white matter's.
    """
    brought = resample(prior, scan.grid).data[:, scan.inside]
    brought[0] += (1 - brought.sum(0)).clamp(min=0)
    # In the brain there is no background: what the network takes for it is fluid, or whatever comes next.
    free = table.unsided.index(24)
    brought[free] += 0.1 * brought[0]
    brought[0] *= 0.0
    brought /= brought.sum(0).clamp(min=1e-6)
    if likelihood:
        fit = gaussian_mixture.fit(scan.intensities, brought, table.unsided, fluid=fluid)
        brought = fit.posteriors
        if fit.weight == 0:
            notes.append(
                "Grey and white matter have nearly the same intensity in this scan: "
                "which is which, the network alone says."
            )
    full = torch.zeros(len(brought), *scan.grid.shape)
    full[:, scan.inside] = brought
    if likelihood and SMOOTHING:
        full = gaussian_mixture.smoothed(full, scan.inside, SMOOTHING)
    full[0] = (~scan.inside).float()
    full[1:, ~scan.inside] = 0
    return Volume(full, scan.grid.affine)


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
    """``prior`` (changed in place) joined with an atlas that is bent to the scan.

    What bends the atlas is looked at on a coarse grid, twice: the second time the atlas has helped to say
    what is there.

    Parameters
    ----------
    name : str
        The atlas.
    network, prior : Volume, shape (C, X, Y, Z)
        The network's posteriors on its own grid and on the scan's.
    scan : Scan
        Intensities, on an upright grid.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    fluid : float, optional
        As :func:`fitted` takes it.
    """
    rough = scan.on(lattice(scan.grid, ROUGH))
    so_far = resample(network, rough.grid)
    image = scan.image
    bent = deformable_atlas.place(deformable_atlas.load(name), to_atlas, rough.grid)
    bent = deformable_atlas.bend(
        bent, image, fitted(rough, so_far, table, likelihood, [], fluid), deformable_atlas.OPTIONS
    )
    so_far = _joined(so_far, bent)
    bent = deformable_atlas.bend(
        bent, image, fitted(rough, so_far, table, likelihood, [], fluid), deformable_atlas.AGAIN
    )
    return _joined(prior, bent)


def _joined(prior: Volume, bent: deformable_atlas.Bent) -> Volume:
    """``prior`` (changed in place) joined with an atlas, in the part that the atlas covers."""
    shapes = bent.probabilities(prior.grid)
    return refinement.blend(prior, deformable_atlas.joined(resample(prior, shapes.grid), shapes))


def without_strays(posteriors: Tensor, left: Tensor, table: LabelTable) -> Tensor:
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
