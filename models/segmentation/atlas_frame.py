"""Brains that may lie in any way, skull-stripped and segmented upright, in the atlas frame.

The coarse network says how the brain lies (:mod:`brainseg.models.localization.pose`); the fine network then
sees every
brain upright and of one length, and its mirror image as well. Nothing is resampled for that: the scan's
affine is another one for a while, and results come back on the grid of the input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.distance import signed_distance
from ..geometry.volume import Grid, Volume, box, coordinate_channels, normalize, resample, transform_points
from ..localization import pose
from ..localization.pose import Pose
from ..networks import zoo
from ..networks.inference import COORDINATE_SCALE, run
from ..population import labels
from ..population.labels import LabelTable
from . import fusion as structure_posteriors
from . import segmentation, skullstrip

WORKING = 0.8
"""Voxel size (mm) at which the scan's intensities decide."""

MARGIN = 3.0
"""Margin (mm) around the brain while they do."""

MOST_MORE = 1.2
"""Extent of a scan, in parts of the brain that the network sees, up to which it is the brain alone."""

SMALLEST = 5e3
"""Least volume (mm3) of a brain mask that is believed: half a brain of 20 weeks."""


def serves(coarse_model: str) -> bool:
    """Whether these weights find brains that may lie in any way."""
    return zoo.read_card(coarse_model).get("kind") == "any-position"


def strip(
    volume: Volume, *, model: str, coarse_model: str, mode: str = "auto", device: str = "cpu"
) -> skullstrip.SkullStripResult:
    """Find the brain; the arguments are those of :func:`brainseg.models.segmentation.skullstrip.skullstrip`.

    Raises
    ------
    InputError
        If there is no brain in the scan.
    """
    notes: list[str] = []
    found = pose.find(volume, model=coarse_model, device=device, notes=notes)
    stripped = mode == "skip" or (mode == "auto" and skullstrip.is_stripped(volume, found))
    mask = skullstrip.extent(volume) if stripped else None
    if mask is None or mode == "auto":
        tissue = posteriors(volume, found, model, device, notes)
        brain = resample(Volume(1 - tissue.data[0], tissue.affine), found.upright(volume).grid)
        seen = skullstrip.tidy(brain.data > 0.5)
        # What the fetus lies in may be dark: then the extent is more than the brain.
        stripped = mask is not None and bool(mask.sum() <= MOST_MORE * max(seen.sum(), 1))
        # Others' masks may be a voxel wider than the brain, which then would all be fluid.
        mask = mask & seen if mask is not None and stripped else seen
    if float(mask.sum()) * volume.grid.voxel_volume < SMALLEST:
        raise InputError(
            None, "no brain was found in it", "Look at the image: is it a brain, is its header right?"
        )
    distance = signed_distance(mask, volume.grid.spacing)
    return skullstrip.SkullStripResult(
        volume.with_data(torch.from_numpy(mask.astype(np.uint8))),
        volume.with_data(torch.from_numpy(distance.astype(np.float32))),
        stripped,
        notes,
    )


def segment(
    volume: Volume,
    mask: Volume,
    *,
    model: str,
    coarse_model: str,
    device: str = "cpu",
    likelihood: bool = True,
    label_table: str | None = None,
) -> segmentation.SegmentationResult:
    """Segment a brain; the arguments are those of
    :func:`brainseg.models.segmentation.segmentation.segment`."""
    inside = mask.data > 0
    floor = min(float(volume.data[inside].min()), 0.0)
    masked = volume.with_data(torch.where(inside, volume.data - floor, 0.0))
    notes: list[str] = []
    found = pose.find(masked, model=coarse_model, device=device, notes=notes)
    finest = zoo.load_once(model, device).card["label_table"]
    table = labels.load(label_table or finest)
    prior = posteriors(masked, found, model, device, notes)
    prior = Volume(summed(prior.data, labels.load(finest), table), prior.affine)
    turned, brain = found.upright(masked), found.upright(mask)
    grid = working_grid(brain, WORKING * found.scale, MARGIN * found.scale)
    fitted = structure_posteriors.fitted(
        structure_posteriors.look(turned, brain, grid), prior, table, likelihood, notes
    )
    # To the right x grows: the log odds of left.
    left = Volume(-coordinate_channels(grid, np.eye(4), 1.0)[0], grid.affine)
    fitted.data[:] = structure_posteriors.without_strays(fitted.data, left.data, table)
    result = segmentation.on_input(turned, brain, fitted, left, table, notes)
    return _in_scan(result, volume, found)


def posteriors(
    volume: Volume, found: Pose, model: str, device: str = "cpu", notes: list[str] | None = None
) -> Volume:
    """Posteriors of the fine network in the atlas frame: the mean over the brain and its mirror image."""
    loaded = zoo.load_once(model, device)
    shape, spacing = tuple(loaded.card["shape"]), float(loaded.card["spacing"])
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    grid = Grid(shape, affine)
    image = normalize(resample(found.upright(volume), grid).data)
    coordinates = coordinate_channels(grid, np.eye(4), COORDINATE_SCALE)
    # What counted more in training is seen more often than it is there.
    weights = loaded.card.get("class_weights", {})
    unsided = labels.load(loaded.card["label_table"]).unsided
    counted = torch.tensor([float(weights.get(str(index), 1.0)) for index in unsided]).log()
    out: Tensor | float = 0.0
    for flip in ((), (1,)):
        turned = image.flip([a - 1 for a in flip])
        logits = run(loaded.network, turned, coordinates, device=device, notes=notes)
        corrected = logits["structure"] - counted.view(-1, 1, 1, 1)
        out = out + corrected.softmax(0).flip(flip) / 2
    return Volume(out, affine)


def summed(posteriors: Tensor, finer: LabelTable, coarser: LabelTable) -> Tensor:
    """Probabilities (C, ...) of the finer table's ``unsided`` as the coarser's: parts are added up."""
    if finer.unsided == coarser.unsided:
        return posteriors
    out = posteriors.new_zeros(len(coarser.unsided), *posteriors.shape[1:])
    return out.index_add_(0, torch.tensor(labels.merged(finer, coarser)), posteriors)


def working_grid(brain: Volume, spacing: float, margin: float) -> Grid:
    """The upright grid of ``spacing`` around a brain mask, which may itself be oblique."""
    start, shape = box(brain, 0.0)
    affine = brain.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(start)
    index = np.argwhere(brain.crop(start, shape).data.numpy() > 0)
    points = transform_points(affine, index)
    low, high = points.min(0) - margin, points.max(0) + margin
    count = np.ceil((high - low) / spacing).astype(int) + 1
    out = np.diag([spacing, spacing, spacing, 1.0])
    out[:3, 3] = low
    return Grid((int(count[0]), int(count[1]), int(count[2])), out)


def _in_scan(
    result: segmentation.SegmentationResult, volume: Volume, found: Pose
) -> segmentation.SegmentationResult:
    """What was measured in the atlas frame, in the scan's millimetres."""
    back = np.linalg.inv(found.to_atlas)
    centroids = {k: tuple(transform_points(back, np.array(p)).tolist()) for k, p in result.centroids.items()}
    return replace(
        result,
        structures=volume.with_data(result.structures.data),
        tissue=volume.with_data(result.tissue.data),
        probabilities={k: volume.with_data(p.data) for k, p in result.probabilities.items()},
        volumes={k: v / found.scale**3 for k, v in result.volumes.items()},
        centroids=centroids,
    )
