"""Skull-stripping and segmentation in the atlas frame, for brains in any position.

The coarse network and a search find the pose of the brain (:mod:`brainseg.models.localization.pose`). The
fine network then gets every brain, and its mirror image, upright and scaled to one length. Only the scan's
affine changes, without resampling; results return to the grid of the input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.volume import Grid, Volume, coordinate_channels, normalize, resample, transform_points
from ..localization import pose
from ..localization.pose import Pose
from ..networks import zoo
from ..networks.inference import COORDINATE_SCALE, run
from ..population import labels
from ..population.labels import LabelTable
from ..population.populations import Population
from . import fusion
from .grids import upright_grid
from .labeling import label
from .masks import extent, is_stripped, tidy
from .result import EXTENT, SegmentationResult, SkullStripResult

MARGIN = 3.0
"""Margin (mm) around the brain for the fit of its intensities."""

MOST_MORE = 1.2
"""Largest extent of a skull-stripped scan, relative to the network's brain mask."""

SMALLEST = 5e3
"""Smallest accepted brain mask (mm3): half a brain of 20 weeks."""


def strip(volume: Volume, record: Population, *, mode: str = "auto", device: str = "cpu") -> SkullStripResult:
    """Return the brain mask of a scan: voxels with a brain posterior above the record's threshold.

    Parameters
    ----------
    volume : Volume
        Scan of any contrast, orientation and voxel size.
    record : Population
        Its networks and the threshold.
    mode : {'auto', 'skip', 'force'}
        See :func:`brainseg.models.segmentation.skullstrip.skullstrip`.
    device : str
        Device of the networks.

    Returns
    -------
    SkullStripResult
        Brain mask and notes.

    Raises
    ------
    InputError
        If the scan has no brain.
    """
    notes: list[str] = []
    found = pose.find(volume, model=record.coarse, device=device, notes=notes)
    stripped = mode == "skip" or (mode == "auto" and is_stripped(volume, found.distance))
    mask = extent(volume) if stripped else None
    if mask is None or mode == "auto":
        tissue = posteriors(volume, found, record.skullstrip, device, notes)
        brain = resample(Volume(1 - tissue.data[0], tissue.affine), found.upright(volume).grid)
        inside = tidy(brain.data > record.methods["skullstrip"].threshold)
        # Dark surroundings of a fetus: the extent is larger than the brain.
        stripped = mask is not None and bool(mask.sum() <= MOST_MORE * max(inside.sum(), 1))
        # Masks of other programs may be a voxel too wide; that rim would become CSF.
        mask = mask & inside if mask is not None and stripped else inside
    if float(mask.sum()) * volume.grid.voxel_volume < SMALLEST:
        raise InputError(None, "no brain found in the image", "Check the image and its header")
    return SkullStripResult(
        volume.with_data(torch.from_numpy(mask.astype(np.uint8))),
        stripped,
        notes,
        source=EXTENT if stripped else record.skullstrip,
    )


def segment(
    volume: Volume,
    mask: Volume,
    record: Population,
    *,
    label_table: str | None = None,
    likelihood: bool = True,
    device: str = "cpu",
) -> SegmentationResult:
    """Segment a brain in any position.

    Parameters
    ----------
    volume : Volume
        Bias-corrected scan of any contrast.
    mask : Volume
        Brain mask, on the same grid.
    record : Population
        Its networks and the voxel size (mm) of the intensities.
    label_table : str, optional
        A coarser label table than the network's; its structures are sums of the network's.
    likelihood : bool
        Whether to fit the scan's intensities.
    device : str
        Device of the networks.

    Returns
    -------
    SegmentationResult
        Structures, tissues and measures.

    Raises
    ------
    InputError
        If the mask does not contain a brain.
    """
    inside = mask.data > 0
    floor = min(float(volume.data[inside].min()), 0.0)
    masked = volume.with_data(torch.where(inside, volume.data - floor, 0.0))
    notes: list[str] = []
    found = pose.find(masked, model=record.coarse, device=device, notes=notes)
    finest = zoo.load_once(record.segmentation, device).card["label_table"]
    table = labels.load(label_table or finest)
    prior = posteriors(masked, found, record.segmentation, device, notes)
    prior = Volume(summed(prior.data, labels.load(finest), table), prior.affine)
    turned, brain = found.upright(masked), found.upright(mask)
    grid = upright_grid(brain, record.methods["segmentation"].spacing * found.scale, MARGIN * found.scale)
    fitted = fusion.fitted(fusion.sample(turned, brain, grid), prior, table, likelihood, notes)
    # x increases to the right: its negative serves as the log odds of left.
    left = Volume(-coordinate_channels(grid, np.eye(4), 1.0)[0], grid.affine)
    fitted.data[:] = fusion.without_strays(fitted.data, left.data, table)
    result = label(turned, brain, fitted, left, table, notes)
    return _in_scan(result, volume, found)


def posteriors(
    volume: Volume, found: Pose, model: str, device: str = "cpu", notes: list[str] | None = None
) -> Volume:
    """Return the fine network's posteriors in the atlas frame, the mean over the brain and its mirror image.

    Parameters
    ----------
    volume : Volume
        The scan.
    found : Pose
        Pose of its brain.
    model : str
        Weights.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, shape (C, X, Y, Z)
        Probabilities of the unsided structures of the network's label table.
    """
    loaded = zoo.load_once(model, device)
    shape, spacing = tuple(loaded.card["shape"]), float(loaded.card["spacing"])
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    grid = Grid(shape, affine)
    image = normalize(resample(found.upright(volume), grid).data)
    coordinates = coordinate_channels(grid, np.eye(4), COORDINATE_SCALE)
    # A class with a larger weight in training is predicted more often than it occurs.
    weights = loaded.card.get("class_weights", {})
    unsided = labels.load(loaded.card["label_table"]).unsided
    counted = torch.tensor([float(weights.get(str(index), 1.0)) for index in unsided]).log()
    halves = []
    for flip in ((), (1,)):
        turned = image.flip([a - 1 for a in flip])
        logits = run(loaded.network, turned, coordinates, device=device, notes=notes)
        corrected = logits["structure"] - counted.view(-1, 1, 1, 1)
        halves.append(corrected.softmax(0).flip(flip) / 2)
    return Volume(halves[0] + halves[1], affine)


def summed(posteriors: Tensor, finer: LabelTable, coarser: LabelTable) -> Tensor:
    """Return the probabilities of a coarser table's structures, as sums of a finer table's.

    Parameters
    ----------
    posteriors : Tensor, shape (C, ...)
        Probabilities of the finer table's unsided structures.
    finer, coarser : LabelTable
        Label tables.

    Returns
    -------
    Tensor, shape (K, ...)
        Probabilities of the coarser table's unsided structures.
    """
    if finer.unsided == coarser.unsided:
        return posteriors
    out = posteriors.new_zeros(len(coarser.unsided), *posteriors.shape[1:])
    return out.index_add_(0, torch.tensor(labels.merged(finer, coarser)), posteriors)


def _in_scan(result: SegmentationResult, volume: Volume, found: Pose) -> SegmentationResult:
    """Return a result of the atlas frame in the scan's millimeters."""
    back = np.linalg.inv(found.to_atlas)
    centroids = {k: tuple(transform_points(back, np.array(p)).tolist()) for k, p in result.centroids.items()}
    return replace(
        result,
        structures=volume.with_data(result.structures.data),
        tissue=volume.with_data(result.tissue.data),
        probabilities={k: volume.with_data(p.data) for k, p in result.probabilities.items()},
        volumes={k: v / found.scale**3 for k, v in result.volumes.items()},
        intervals={
            k: (low / found.scale**3, high / found.scale**3) for k, (low, high) in result.intervals.items()
        },
        centroids=centroids,
    )
