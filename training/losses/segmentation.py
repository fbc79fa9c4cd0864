"""Losses of segmentation networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .fused import FusedLoss


def soft_dice(probabilities: Tensor, target: Tensor, least: int = 20) -> Tensor:
    """Return one minus the mean soft Dice of the classes with at least ``least`` voxels in ``target``.

    Parameters
    ----------
    probabilities : Tensor, shape (B, C, X, Y, Z)
        Softmax of the logits.
    target : Tensor of int64, shape (B, X, Y, Z)
        Class positions.
    """
    count = probabilities.shape[1]
    flat = target.reshape(-1)
    p = probabilities.movedim(1, 0).reshape(count, -1)
    size = torch.bincount(flat, minlength=count).to(p.dtype)
    own = p.gather(0, flat[None])[0]
    overlap = torch.zeros(count, dtype=p.dtype, device=p.device).index_add_(0, flat, own)
    score = (2 * overlap + 1) / (p.sum(1) + size + 1)
    present = size >= least
    return 1 - score[present].mean()


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    hierarchy: tuple[Tensor, Tensor, float] | None = None,
    edge_weight: float = 1.0,
) -> Tensor:
    """Return the weighted cross-entropy plus soft Dice, computed by :mod:`brainseg.training.losses.fused`.

    Parameters
    ----------
    logits : Tensor, shape (B, C, X, Y, Z)
        Logits.
    target : Tensor of int64, shape (B, X, Y, Z)
        Class positions.
    weight : Tensor, shape (C,), optional
        Weights of the classes in the cross-entropy.
    hierarchy : tuple, optional
        Tissue positions (B, X, Y, Z), tissue of every class (C,) and a weight: adds the weighted
        :func:`hierarchical_loss`.
    edge_weight : float
        Weight in the cross-entropy of voxels with another class on one of their faces, relative to the
        others.
    """
    count = logits.shape[1]
    rows = logits.movedim(1, -1).reshape(-1, count)
    weight = torch.ones(count, device=logits.device) if weight is None else weight
    groups = group_target = None
    group_weight = 0.0
    if hierarchy is not None:
        group_target, tissue_of, group_weight = hierarchy
        group_target = group_target.reshape(-1)
        groups = F.one_hot(tissue_of, int(tissue_of.max()) + 1).float()
    emphasis = None if edge_weight == 1 else 1 + (edge_weight - 1) * edges(target).reshape(-1).to(rows.dtype)
    return FusedLoss.apply(rows, target.reshape(-1), weight, groups, group_target, group_weight, emphasis)


def edges(target: Tensor) -> Tensor:
    """Return the voxels (B, X, Y, Z) that share a face with another class."""
    found = torch.zeros_like(target, dtype=torch.bool)
    for axis in range(1, target.dim()):
        count = target.shape[axis] - 1
        differ = target.narrow(axis, 0, count) != target.narrow(axis, 1, count)
        found.narrow(axis, 0, count).logical_or_(differ)
        found.narrow(axis, 1, count).logical_or_(differ)
    return found


def distance_loss(predicted: Tensor, target: Tensor, band: float = 10.0) -> Tensor:
    """Return the mean absolute error of a signed distance (mm), with larger weights near the surface.

    Parameters
    ----------
    predicted, target : Tensor
        Signed distances (mm), same shape.
    band : float
        Distance (mm) to which both are clipped.
    """
    target = target.clamp(-band, band)
    weight = 1 + 3 * torch.exp(-((target / 4) ** 2))
    return (weight * (predicted.float().clamp(-1.5 * band, 1.5 * band) - target).abs()).mean() / 5


def border_loss(predicted: Tensor, target: Tensor, scale: float = 1.5) -> Tensor:
    """Return cross-entropy plus Dice of the inside (distance > 0).

    Regression of the distance alone converges to the surface of the mean head.

    Parameters
    ----------
    predicted, target : Tensor
        Signed distances (mm), same shape.
    scale : float
        Distance (mm) for a logit of 1.
    """
    inside = (target > 0).float()
    logit = predicted.float().clamp(-15, 15) / scale
    near = torch.exp(-((target / 8) ** 2)) + 0.1
    entropy = (near * F.binary_cross_entropy_with_logits(logit, inside, reduction="none")).sum() / near.sum()
    p = logit.sigmoid()
    return entropy + 1 - 2 * (p * inside).sum() / (p.sum() + inside.sum()).clamp(min=1)


def inside_loss(predicted: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Return cross-entropy plus Dice of the inside, whose share of a voxel changes smoothly at the surface.

    It is least where the prediction is the distance itself, so that the surface has no error of half a voxel;
    nothing is clipped, so that large errors have a gradient as well.

    Parameters
    ----------
    predicted, target : Tensor
        Signed distances (mm), same shape.
    scale : float
        Distance (mm) for a logit of 1.
    """
    inside = (target / scale).sigmoid()
    logit = predicted.float() / scale
    near = torch.exp(-((target / 8) ** 2)) + 0.1
    entropy = (near * F.binary_cross_entropy_with_logits(logit, inside, reduction="none")).sum() / near.sum()
    p = logit.sigmoid()
    return entropy + 1 - 2 * (p * inside).sum() / (p.square().sum() + inside.square().sum()).clamp(min=1)


def volume_loss(predicted: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Return the error of the volume of the inside, relative to the true one, mean over the examples.

    A surface that is a little too deep or too shallow everywhere costs little in the other losses.

    Parameters
    ----------
    predicted, target : Tensor, shape (B, X, Y, Z)
        Signed distances (mm).
    scale : float
        Distance (mm) over which the share of a voxel changes at the surface.
    """
    axes = tuple(range(1, target.ndim))
    truth = (target / scale).sigmoid().sum(axes)
    found = (predicted.float() / scale).sigmoid().sum(axes)
    return ((found - truth).abs() / truth.clamp(min=1)).mean()


def side_loss(logit: Tensor, side: Tensor) -> Tensor:
    """Return the binary cross-entropy of left (1) against right (0), where the side is not -1."""
    known = side >= 0
    return F.binary_cross_entropy_with_logits(logit.float()[known], side[known].float())


def hierarchical_loss(logits: Tensor, tissue: Tensor, tissue_of: Tensor) -> Tensor:
    """Return cross-entropy plus Dice of the tissues, from structure probabilities summed by tissue.

    Parameters
    ----------
    logits : Tensor, shape (B, C, X, Y, Z)
        Structure logits.
    tissue : Tensor of int64, shape (B, X, Y, Z)
        Tissue positions.
    tissue_of : Tensor of int64, shape (C,)
        Tissue of every structure.
    """
    p = F.softmax(logits.float(), 1)
    count = int(tissue_of.max()) + 1
    summed = torch.zeros(p.shape[0], count, *p.shape[2:], device=p.device).index_add_(1, tissue_of, p)
    return F.nll_loss(torch.log(summed.clamp(min=1e-12)), tissue) + soft_dice(summed, tissue)


def binary_loss(logit: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice over all voxels of the batch."""
    p = logit.sigmoid()
    dice = (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logit, truth) + 1 - dice


def slice_dice_loss(logit: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the mean soft Dice of the examples (epsilon 1; Milletari et al. 2016)."""
    p, t = logit.sigmoid().flatten(1), truth.flatten(1)
    return 1 - ((2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()
