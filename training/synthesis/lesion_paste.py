"""Lesions pasted into label maps."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import GeneratorConfig
from .deformation import integer, uniform


def paste(labels: Tensor, lesion_of: Tensor, config: GeneratorConfig) -> Tensor:
    """Return a copy of a label map with random lesions.

    Parameters
    ----------
    labels : Tensor of uint8, shape (X, Y, Z)
        Positions in the source table, voxels of 1 mm.
    lesion_of : Tensor of int64
        Position of the lesion label for every position, -1 where lesions are not allowed.
    config : GeneratorConfig
        Number and size of the lesions.

    Notes
    -----
    Each lesion is an ellipsoid around a random allowed voxel; neighbors can merge, as confluent lesions do.
    """
    out = labels.clone()
    size = torch.tensor(labels.shape)
    flat = labels.view(-1)
    tries = torch.randint(flat.numel(), (40 * config.lesion_count,), device=labels.device)
    places = tries[lesion_of[flat[tries].long()] >= 0].cpu()
    for place in places[: integer(1, config.lesion_count + 1)].tolist():
        middle = torch.tensor([place // int(size[1] * size[2]), place // int(size[2]) % int(size[1]), 0])
        middle[2] = place % int(size[2])
        for _ in range(integer(1, 3)):
            _ellipsoid(out, lesion_of, middle, config)
            middle = (middle + torch.randint(-5, 6, (3,))).clamp(min=0).minimum(size - 1)
    return out


def _ellipsoid(out: Tensor, lesion_of: Tensor, middle: Tensor, config: GeneratorConfig) -> None:
    low, high = config.lesion_radius
    # Small lesions are more frequent than large ones.
    base = low + (high - low) * uniform(0, 1) ** 2
    axes = [base * uniform(0.6, 1.5) for _ in range(3)]
    start = [max(0, int(m - a)) for m, a in zip(middle.tolist(), axes, strict=True)]
    stop = [min(n, int(m + a) + 2) for m, a, n in zip(middle.tolist(), axes, out.shape, strict=True)]
    lines = [
        ((torch.arange(s, e, device=out.device) - int(m)) / a) ** 2
        for s, e, m, a in zip(start, stop, middle, axes, strict=True)
    ]
    inside = lines[0][:, None, None] + lines[1][None, :, None] + lines[2][None, None, :] <= 1
    window = out[tuple(slice(s, e) for s, e in zip(start, stop, strict=True))]
    lesion = lesion_of[window.long()]
    window.copy_(torch.where(inside & (lesion >= 0), lesion.to(out.dtype), window))
