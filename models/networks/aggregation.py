"""Probabilities of a whole image from a network that sees parts of it: windows, or slices of several axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .device import precision

SAMPLERS = ("volumes", "patches", "slices")
"""What a network sees at once: the whole image, windows, or slices."""

OVERLAP = 0.5
"""Overlap of neighboring windows."""

WIDTH = 0.125
"""Standard deviation of a window's Gaussian weights, in units of its side."""

SLICES = 16
"""Slices in one pass."""

Compute = Callable[[Tensor, Tensor | None], Tensor]


@torch.inference_mode()
def probabilities(
    network: nn.Module,
    x: Tensor,
    prior: Tensor | None = None,
    device: str = "cpu",
    *,
    sampler: str = "volumes",
    shape: Sequence[int] = (),
    axes: Sequence[int] = (2,),
) -> Tensor:
    """Return the probabilities of a network's classes; of an ensemble, their mean over its members.

    Parameters
    ----------
    network : Module
        In evaluation mode, on ``device``; its task is ``structure``.
    x : Tensor, shape (C, X, Y, Z)
        Input.
    prior : Tensor, shape (P, X/2, Y/2, Z/2), optional
        Second input, for networks with a prior.
    device : str
        Device of the network.
    sampler : {'volumes', 'patches', 'slices'}
        What the network sees at once.
    shape : sequence of int
        Size of the windows of ``patches``, and of ``volumes`` that are larger.
    axes : sequence of int
        Axes across the slices of ``slices``; the probabilities are the mean over them.

    Returns
    -------
    Tensor, shape (K, X, Y, Z)
        Probabilities on the CPU.
    """
    if (members := getattr(network, "members", None)) is not None:
        own = zip(members, network.axes, network.shapes, network.channels, strict=True)  # type: ignore[arg-type]
        found = [
            probabilities(
                one, x[:count], prior, device, sampler=sampler, shape=size or shape, axes=along or axes
            )
            for one, along, size, count in own
        ]
        return torch.stack(found).mean(0)
    stride = cast(int, network.stride)

    def compute(part: Tensor, near: Tensor | None) -> Tensor:
        part = part[None].to(device).contiguous(memory_format=torch.channels_last_3d)
        near = None if near is None else near[None].to(device)
        dtype = precision(device)
        with torch.autocast(device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
            logits = network(part, near)["structure"][0][0]
        return logits.float().softmax(0).cpu()

    if sampler == "slices":
        return torch.stack([by_slices(compute, x, axis, stride) for axis in axes]).mean(0)
    if sampler == "patches" or _larger(x, shape):
        return by_windows(compute, x, prior, shape)
    padded = _padded(x, [-(-n // stride) * stride for n in x.shape[1:]])
    near = None if prior is None else _padded(prior, [n // 2 for n in padded.shape[1:]])
    return _cut(compute(padded, near), x)


def _larger(x: Tensor, shape: Sequence[int]) -> bool:
    """Return whether an image is larger than those of the training; normalization over it would differ."""
    return len(shape) == 3 and any(n > side for n, side in zip(x.shape[1:], shape, strict=True))


def by_windows(compute: Compute, x: Tensor, prior: Tensor | None, shape: Sequence[int]) -> Tensor:
    """Return probabilities from overlapping windows with Gaussian weights.

    Parameters
    ----------
    compute : callable
        Returns the probabilities of a window of ``x`` and of ``prior``.
    x, prior : Tensor
        As for :func:`probabilities`.
    shape : sequence of int
        Even sides of the windows.

    Examples
    --------
    >>> x = torch.rand(2, 20, 9, 8)
    >>> torch.allclose(by_windows(lambda part, _: part, x, None, (8, 8, 8)), x, atol=1e-5)
    True
    """
    whole = _padded(x, [max(n + n % 2, side) for n, side in zip(x.shape[1:], shape, strict=True)])
    near = None if prior is None else _padded(prior, [n // 2 for n in whole.shape[1:]])
    weight = _weights(shape)
    sizes = whole.shape[1:]
    total, out = torch.zeros(sizes), torch.empty(0)
    for start in product(*(_starts(n, side) for n, side in zip(sizes, shape, strict=True))):
        at = tuple(slice(s, s + side) for s, side in zip(start, shape, strict=True))
        half = tuple(slice(s // 2, (s + side) // 2) for s, side in zip(start, shape, strict=True))
        found = compute(whole[(slice(None), *at)], None if near is None else near[(slice(None), *half)])
        if not out.numel():
            out = torch.zeros(len(found), *sizes)
        out[(slice(None), *at)] += found * weight
        total[at] += weight
    return _cut(out / total, x)


def by_slices(compute: Compute, x: Tensor, axis: int, stride: int) -> Tensor:
    """Return probabilities from the slices across an axis.

    Parameters
    ----------
    compute : callable
        Returns the probabilities of a stack of slices, shape (C, A, B, slices).
    x : Tensor, shape (C, X, Y, Z)
        Input.
    axis : int
        The axis: 0, 1 or 2.
    stride : int
        Number that divides the sides of slices.
    """
    turned = x.movedim(1 + axis, -1)
    sides = [-(-n // stride) * stride for n in turned.shape[1:3]]
    padded = _padded(turned, [*sides, turned.shape[-1]])
    parts = [compute(part.contiguous(), None) for part in padded.split(SLICES, -1)]
    return _cut(torch.cat(parts, -1), turned).movedim(-1, 1 + axis).contiguous()


def _starts(size: int, side: int) -> list[int]:
    """Return the first voxels of windows that cover an axis, all even.

    Examples
    --------
    >>> _starts(20, 8), _starts(8, 8)
    ([0, 4, 8, 12], [0])
    """
    step = max(2, int(side * (1 - OVERLAP)) // 2 * 2)
    last = size - side
    return sorted({*range(0, last, step), last}) if last > 0 else [0]


def _weights(shape: Sequence[int]) -> Tensor:
    weight = torch.ones(())
    for axis, side in enumerate(shape):
        at = (torch.arange(side) - (side - 1) / 2) / (WIDTH * side)
        weight = weight * torch.exp(-0.5 * at**2).view([-1 if a == axis else 1 for a in range(3)])
    return weight.clamp(min=1e-4)


def _padded(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return ``x`` padded at the ends of its last three axes with the values at its faces."""
    pad = [
        extra for n, size in zip(x.shape[:0:-1], list(sizes)[::-1], strict=True) for extra in (0, size - n)
    ]
    return F.pad(x[None], pad, mode="replicate")[0] if any(pad) else x


def _cut(found: Tensor, x: Tensor) -> Tensor:
    a, b, c = x.shape[1:]
    return found[:, :a, :b, :c]
