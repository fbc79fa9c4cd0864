"""Inference of the networks on a grid, with tiles and mirror images."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .device import precision
from .stem_unet import StemUNet

COORDINATE_SCALE = 64.0
"""Millimeters in one unit of the coordinate channels."""

OVERLAP = 2
"""Overlap of tiles in units of the network's stride."""

TILES = (2, 4)
"""Numbers of tiles, tried in turn, for a grid that is too large for the device's memory."""


@torch.inference_mode()
def run(
    network: nn.Module,
    image: Tensor,
    coordinates: Tensor,
    prior: Tensor | None = None,
    device: str = "cpu",
    *,
    tasks: tuple[str, ...] | None = None,
    notes: list[str] | None = None,
) -> dict[str, Tensor]:
    """Compute the logits of the tasks at full resolution.

    Parameters
    ----------
    network : Module
        In evaluation mode, on ``device``; one of :data:`brainseg.models.networks.zoo.ARCHITECTURES`.
    image : Tensor, shape (X, Y, Z)
        Normalized to [0, 1]; sides are multiples of ``network.stride``.
    coordinates : Tensor, shape (3, X, Y, Z)
        In units of ``COORDINATE_SCALE`` mm.
    prior : Tensor, shape (C, X/2, Y/2, Z/2), optional
        Posteriors of the coarser network, as in training.
    device : str
        Device of the network.
    tasks : tuple of str, optional
        Tasks that are needed, all by default. A :class:`StemUNet` computes no others; the other networks do.
    notes : list of str, optional
        A note is appended if the grid was too large for a GPU's memory and was computed in tiles.

    Returns
    -------
    dict of str to Tensor
        For each task a float32 tensor (C, X, Y, Z) on the CPU.

    Raises
    ------
    RuntimeError
        If the network fails, or its smallest tiles exceed the device's memory.
    """
    x = torch.cat([image[None], coordinates])[None].float()
    prior = None if prior is None else prior[None].float()
    try:
        return _whole(network, x, prior, device, tasks)
    except RuntimeError as error:
        if not out_of_memory(error) or device == "cpu":
            raise
    for count in TILES:
        try:
            out = _tiled(network, x, prior, device, count, tasks)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            continue
        note = f"The network ran in {count} tiles: the memory of the device {device} was too small."
        if notes is not None and note not in notes:
            notes.append(note)
        return out
    raise torch.OutOfMemoryError(
        f"the memory of {device} is too small even for {TILES[-1]} tiles; use --device cpu"
    )


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether the device's memory was too small; some devices have no error type for that."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def posteriors(
    network: nn.Module,
    image: Tensor,
    coordinates: Tensor,
    prior: Tensor | None = None,
    device: str = "cpu",
    *,
    passes: int = 1,
    mirrored: int = 0,
    notes: list[str] | None = None,
) -> Tensor:
    """Compute the probabilities of the structures, without side.

    Parameters
    ----------
    network, image, coordinates, prior, device, notes
        As in :func:`run`.
    passes : int
        Number of passes, as on the model card (``looks``). Each pass after the first has the posteriors of
        the one before it as prior.
    mirrored : int
        Number of passes, the last ones, with the mean over the image and its mirror image: each takes twice
        the time, and is more accurate.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        Probabilities, background first.
    """
    for left in range(passes - 1, 0, -1):
        both = int(mirrored > left)
        found = posteriors(network, image, coordinates, prior, device, mirrored=both, notes=notes)
        prior = as_prior(found[None])[0]
    tasks = ("structure",)
    found = _shares(run(network, image, coordinates, prior, device, tasks=tasks, notes=notes)["structure"])
    if mirrored:
        # Left and right change places in the mirror image: the first coordinate changes its sign.
        turned = coordinates.flip(1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
        prior = None if prior is None else prior.flip(1)
        other = _shares(
            run(network, image.flip(0), turned, prior, device, tasks=tasks, notes=notes)["structure"]
        )
        back = torch.arange(len(other) - 1, -1, -1)
        found = found.add_(other.index_select(0, back)).div_(2)
    return _channels_first(found)


def probabilities(logits: Tensor) -> Tensor:
    """Return the probabilities of classes, the same on any number of threads.

    Parameters
    ----------
    logits : Tensor, shape (C, X, Y, Z)
        Logits, on the CPU; the fastest if channels are last in the memory, as those of networks are.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        Probabilities, contiguous.
    """
    return _channels_first(_shares(logits))


def _shares(logits: Tensor) -> Tensor:
    """Return the probabilities (X, Y, Z, C) of logits (C, X, Y, Z)."""
    return logits.movedim(0, -1).contiguous().softmax(-1)


def _channels_first(values: Tensor) -> Tensor:
    """Return values (X, Y, Z, C), contiguous, as (C, X, Y, Z)."""
    count = values.shape[-1]
    return values.view(-1, count).t().contiguous().view(count, *values.shape[:3])


def as_prior(probabilities: Tensor) -> Tensor:
    """Return probabilities (B, C, X, Y, Z) as a network's prior, at half of its resolution."""
    return F.avg_pool3d(probabilities, 2)


def _whole(
    network: nn.Module,
    x: Tensor,
    prior: Tensor | None,
    device: str,
    tasks: tuple[str, ...] | None,
) -> dict[str, Tensor]:
    x = x.to(device).contiguous(memory_format=torch.channels_last_3d)
    prior = None if prior is None else prior.to(device)
    dtype = precision(device)
    with torch.autocast(device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
        out = network(x, prior, tasks=tasks) if isinstance(network, StemUNet) else network(x, prior)
    return {task: full[0].float().cpu() for task, (full, _) in out.items()}


def _tiled(
    network: nn.Module,
    x: Tensor,
    prior: Tensor | None,
    device: str,
    count: int,
    tasks: tuple[str, ...] | None,
) -> dict[str, Tensor]:
    """Return the logits, computed in overlapping slabs along the longest divisible axis."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    stride = cast(int, network.stride)
    sizes = list(x.shape[2:])
    axis = max((n, k) for k, n in enumerate(sizes) if n % stride == 0)[1]
    blocks = sizes[axis] // stride
    margin = OVERLAP if blocks >= 4 * OVERLAP else 1  # wider margins would make every tile the whole grid
    out: dict[str, Tensor] = {}
    for part in range(count):
        first, last = blocks * part // count, blocks * (part + 1) // count
        low, high = max(0, first - margin), min(blocks, last + margin)
        start, length = low * stride, (high - low) * stride
        near = None if prior is None else prior.narrow(2 + axis, start // 2, length // 2)
        found = _whole(network, x.narrow(2 + axis, start, length), near, device, tasks)
        kept, size = (first - low) * stride, (last - first) * stride
        for task, values in found.items():
            whole = out.setdefault(task, torch.empty(values.shape[0], *sizes))
            whole.narrow(1 + axis, first * stride, size).copy_(values.narrow(1 + axis, kept, size))
    return out
