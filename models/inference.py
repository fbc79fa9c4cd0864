"""Running a network over a grid: the one place where images meet weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .device import precision
from .networks import StemUNet

COORDINATE_SCALE = 64.0
"""Millimetres in one unit of the coordinate channels."""


@torch.inference_mode()
def run(
    network: StemUNet, image: Tensor, coordinates: Tensor, prior: Tensor | None = None, device: str = "cpu"
) -> dict[str, Tensor]:
    """Logits of every task at full resolution.

    Parameters
    ----------
    network : StemUNet
        In evaluation mode, on ``device``.
    image : Tensor, shape (X, Y, Z)
        Normalized to [0, 1]; sides are multiples of ``network.stride``.
    coordinates : Tensor, shape (3, X, Y, Z)
        In units of ``COORDINATE_SCALE`` mm.
    prior : Tensor, shape (C, X/2, Y/2, Z/2), optional
        What the network was trained to get from the coarser one.
    device : str
        Where to compute.

    Returns
    -------
    dict of str to Tensor
        For each task a float32 tensor (C, X, Y, Z) on the CPU.
    """
    x = torch.cat([image[None], coordinates])[None].float()
    x = x.to(device).contiguous(memory_format=torch.channels_last_3d)
    prior = None if prior is None else prior[None].float().to(device)
    dtype = precision(device)
    with torch.autocast(device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
        out = network(x, prior)
    return {task: full[0].float().cpu() for task, (full, _) in out.items()}
