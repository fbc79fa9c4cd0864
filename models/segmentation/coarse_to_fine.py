"""Segmentation from coarse to fine: the whole brain at 3 mm, then its box at the fine network's voxel size.

The coarse posteriors are the fine network's context; an atlas deformed to the scan and the scan's own
intensities (:mod:`brainseg.models.segmentation.intensity`) correct its posteriors. The fine network predicts
unsided structures; the coarse network separates left from right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.volume import Grid, Volume, coordinate_channels, resample, transform_points
from ..localization import head, tilt
from ..networks import zoo
from ..population import labels
from ..population.populations import Population
from . import fusion, refinement
from .grids import brain_grid, covering
from .labeling import label
from .result import SegmentationResult

FLUID = 1.0
"""Largest variance of CSF intensities, relative to white matter's; chosen on synthetic heads."""

MIRRORED = {"fast": 1, "accurate": 9}
"""Passes of the fine network, the last ones, that see the mirror image as well, by effort: in the last one
alone it gains as much in every contrast as hours of training (``benchmarks/passes.py``)."""

FAR_OFF = 6.0
"""Median distance (mm) of the structures from their places in the atlas above which a note is added."""


def segment(
    volume: Volume,
    mask: Volume,
    record: Population,
    *,
    effort: str = "fast",
    likelihood: bool = True,
    region: Volume | None = None,
    device: str = "cpu",
) -> SegmentationResult:
    """Return the segmentation of the brain of a head in any orientation.

    Parameters
    ----------
    volume : Volume
        Bias-corrected scan of any contrast.
    mask : Volume
        Brain mask, on the same grid.
    record : Population
        Its networks and the voxel size (mm) of the intensities.
    effort : {'fast', 'accurate'}
        The mirror image is seen in every pass of the network (``accurate``), or in the last one.
    likelihood : bool
        Whether to fit the scan's intensities.
    region : Volume, optional
        Mask and fluid around it, which networks and fit of the intensities see; labels stay in the mask.
    device : str
        Device of the networks.

    Raises
    ------
    InputError
        If the mask does not contain a brain.
    """
    seen, notes = mask if region is None else region, list[str]()
    scan = Seen(volume, mask, seen, _within(volume, seen))
    coarse = head.find(scan.masked, model=record.coarse, device=device, notes=notes)
    matrix = tilt.upright(coarse.to_atlas)
    if matrix is None:
        return _segmented(scan, coarse, record, effort, likelihood, device, notes)
    notes.append(
        f"The head is tilted by {tilt.angle(coarse.to_atlas):.0f} degrees: it was segmented upright."
    )
    scan = Seen(*(tilt.moved(one, matrix) for one in (volume, mask, seen, scan.masked)))
    coarse = head.find(scan.masked, model=record.coarse, device=device, notes=notes)
    found = _segmented(scan, coarse, record, effort, likelihood, device, notes)
    return _in_place(found, volume, np.linalg.inv(matrix))


@dataclass(frozen=True)
class Seen:
    """A scan, its brain mask, the region around it that networks see, and the scan in that region alone."""

    volume: Volume
    mask: Volume
    region: Volume
    masked: Volume


def _segmented(
    scan: Seen,
    coarse: head.Coarse,
    record: Population,
    effort: str,
    likelihood: bool,
    device: str,
    notes: list[str],
) -> SegmentationResult:
    """Return the segmentation of a head that is nearly upright."""
    masked, seen, mirrored = scan.masked, scan.region, MIRRORED[effort]
    card = zoo.load_once(record.segmentation, device).card
    table = labels.load(card["label_table"])
    network = fusion.fine(masked, seen, coarse, record.segmentation, device, mirrored=mirrored, notes=notes)
    spacing = record.methods["segmentation"].spacing
    grid = covering(brain_grid(masked, coarse.distance, spacing, fusion.MARGIN, 1), seen)
    prior = resample(network, grid)
    if further := card.get("finer"):
        prior = refinement.blend(
            prior, refinement.box_posteriors(masked, coarse, further, device, mirrored=mirrored, notes=notes)
        )
    levels = fusion.sample(masked, seen, grid)
    if shapes := card.get("atlas"):
        prior = fusion.with_shapes(shapes, network, prior, levels, coarse.to_atlas, table, likelihood, FLUID)
    posteriors = fusion.fitted(levels, prior, table, likelihood, notes, FLUID, partial_volume=True)
    del prior, network
    left = _left(coarse, grid)
    posteriors.data[:] = fusion.without_tails(fusion.without_strays(posteriors.data, left.data, table))
    if coarse.error > FAR_OFF:
        notes.append(
            f"The structures are {coarse.error:.1f} mm off their usual places: check the segmentation."
        )
    result = label(scan.volume, scan.mask, posteriors, left, table, notes)
    return replace(result, posteriors=posteriors, label_table=card["label_table"])


def _in_place(found: SegmentationResult, volume: Volume, back: np.ndarray) -> SegmentationResult:
    """Return results of a head that was made upright on the scan's own grid; ``back`` is the way back."""
    assert found.posteriors is not None
    centers = {k: transform_points(back, np.array(point)) for k, point in found.centroids.items()}
    return replace(
        found,
        structures=volume.with_data(found.structures.data),
        tissue=volume.with_data(found.tissue.data),
        probabilities={name: volume.with_data(one.data) for name, one in found.probabilities.items()},
        centroids={k: (float(x), float(y), float(z)) for k, (x, y, z) in centers.items()},
        posteriors=tilt.moved(found.posteriors, back),
    )


def _within(volume: Volume, region: Volume) -> Volume:
    """Return a scan in a region alone; the background is darkest."""
    inside = region.data > 0
    return volume.with_data(torch.where(inside, volume.data - floor(volume.data[inside]), 0.0))


def floor(values: Tensor) -> float:
    """Return a level below all intensities of the brain, so that zero in the background is darkest.

    Parameters
    ----------
    values : Tensor
        Intensities of the brain.

    Returns
    -------
    float
        Zero, or the smallest negative intensity.
    """
    return min(float(values.min()), 0.0)


def _left(coarse: head.Coarse, grid: Grid) -> Volume:
    """Return the log odds of left against right, by network and distance from the midplane."""
    logit = resample(coarse.left, grid).data
    x = coordinate_channels(grid, coarse.to_atlas, 1.0)[0]
    return Volume(logit - x / 4, grid.affine)
