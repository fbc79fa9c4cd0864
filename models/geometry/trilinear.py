"""Trilinear interpolation; on the CPU by PyTorch's interpolation of images, which has vector instructions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_ROWS = 2**14
"""Rows up to which an image of planes is sampled: single precision rounds a position among more of them
by more than half a thousandth of a voxel."""

LEAST_SAMPLES = 2**15
"""Samples that one thread computes at least."""

SAMPLES = 2**16
"""Samples of a thread at once: the positions of more of them do not stay in its caches."""

CHANNELS = 4
"""Channels that are sampled at once: the planes of more of them do not stay in the caches of a core."""


def sample(values: Tensor, where: Tensor, padding: str = "border") -> Tensor:
    """Sample values at voxel indices, by trilinear interpolation.

    Parameters
    ----------
    values : Tensor, shape (C, X, Y, Z)
        Values.
    where : Tensor, shape (3, x, y, z)
        Voxel indices of the samples.
    padding : {'border', 'zeros'}
        Values outside.

    Returns
    -------
    Tensor, shape (C, x, y, z)
        The samples.

    Notes
    -----
    On the CPU, the same on any number of threads; positions are rounded to less than a thousandth of a voxel.

    Examples
    --------
    >>> values = torch.arange(8.0).view(1, 2, 2, 2)
    >>> float(sample(values, torch.full((3, 1, 1, 1), 0.5)))
    3.5
    """
    found = _between_planes(values, where, padding)
    if found is not None:
        return found
    if values.device.type == "cpu" and where.shape[1] > 1 and not _tracked(values, where):
        # Fewer samples need fewer planes, up to which they are sampled faster.
        return torch.cat([sample(values, part, padding) for part in where.chunk(2, 1)], 1)
    scale = [2.0 / max(n - 1, 1) for n in values.shape[1:]]
    # grid_sample wants the last axis first.
    points = torch.stack([where[k] * scale[k] - 1 for k in (2, 1, 0)], -1)[None]
    return F.grid_sample(values[None], points.to(values.dtype), padding_mode=padding, align_corners=True)[0]


def _between_planes(values: Tensor, where: Tensor, padding: str) -> Tensor | None:
    """Interpolate in the two planes around every sample, then between them; None where this is no way.

    It is none on GPUs, in other types than float32, with gradients, and for more than :data:`MOST_ROWS`.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32 or not where.numel():
        return None
    if _tracked(values, where):
        return None
    ends = [float(n) for n in where[0].aminmax()]
    if not all(map(math.isfinite, ends)):
        return None
    first, last = (min(max(int(n), 0), values.shape[1] - 1) for n in ends)
    if (last + 2 - first) * values.shape[2] > MOST_ROWS:
        return None
    sizes, lines = values.shape[1:], where.float().reshape(3, -1)
    # The planes that the samples need are the rows of one image; in this order, for flattening may copy.
    part = values[:, first : last + 2].flatten(1, 2)[None]
    out = torch.empty(len(values), lines.shape[1], device=values.device)
    size = SAMPLES * torch.get_num_threads()
    for some, found in zip(lines.split(size, 1), out.split(size, 1), strict=True):
        _sample_planes(part, some, first, sizes, found)
        if padding == "zeros":
            _fade(found, some, sizes)
    return out.view(len(values), *where.shape[1:])


def _sample_planes(part: Tensor, lines: Tensor, first: int, sizes: torch.Size, out: Tensor) -> None:
    """Interpolate at voxel indices (3, N) in planes from ``first`` on, which are the rows of an image."""
    x, y, z = (line.clamp(0, n - 1) for line, n in zip(lines, sizes, strict=True))
    plane = x.floor().clamp_(max=max(sizes[0] - 2, 0))
    share = x.sub_(plane)
    step = [2.0 / max(n - 1, 1) for n in part.shape[2:]]
    column = z.mul_(step[1]).sub_(1)
    row = plane.sub_(first).mul_(sizes[1]).add_(y).mul_(step[0]).sub_(1)
    _between(part, column, row, sizes[1] * step[0], share, out)


def _tracked(values: Tensor, where: Tensor) -> bool:
    return torch.is_grad_enabled() and (values.requires_grad or where.requires_grad)


def _between(image: Tensor, column: Tensor, row: Tensor, down: float, share: Tensor, out: Tensor) -> None:
    """Interpolate in an image (1, C, H, W) at N places, ``down`` below them, and between both: (C, N)."""
    count = share.numel()
    # PyTorch gives each image to one thread: several images are parts of the samples.
    parts = min(torch.get_num_threads(), math.ceil(count / LEAST_SAMPLES))
    each = math.ceil(count / parts)
    flat = torch.zeros(parts * each, 2, device=image.device)
    flat[:count, 0], flat[:count, 1] = column, row
    if parts * each > count:
        share = torch.cat([share, share.new_zeros(parts * each - count)])
    points, shares = flat.view(parts, 1, each, 2), share.view(parts, 1, 1, each)
    below = points.clone()
    below[..., 1] += down
    for some, place in zip(image.split(CHANNELS, 1), out.split(CHANNELS), strict=True):
        same = some.expand(parts, *some.shape[1:])
        upper = F.grid_sample(same, points, padding_mode="border", align_corners=True)
        lower = F.grid_sample(same, below, padding_mode="border", align_corners=True)
        upper.lerp_(lower, shares)
        place.copy_(upper.transpose(0, 1).reshape(len(place), -1)[:, :count])


def _fade(found: Tensor, where: Tensor, sizes: torch.Size) -> None:
    """Let samples (C, N) at voxel indices (3, N) fall to zero within a voxel outside the values."""
    for line, n in zip(where, sizes, strict=True):
        low, high = line.aminmax()
        if n > 1 and (low < 0 or high > n - 1):
            found *= torch.minimum(1 + line, n - line).clamp_(0, 1)
