"""The U-Net of FetalSynthSeg, with strided convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stem_unet import InstanceNorm


class StridedUNet(nn.Module):
    """U-Net with strided convolutions and transposed convolutions (Zalevskyi et al. 2024).

    Parameters
    ----------
    inputs : int
        Channels of the input.
    channels : sequence of int
        Channels of the levels; the first works at half the input's resolution, the last two at the same one.
    tasks : mapping of str to mapping
        For each task ``outputs``; their sum is the number of the last layer's channels.
    dropout : float
        Share of channels dropped in training.

    Notes
    -----
    Every side of the input must be a multiple of ``stride``. There is no layer at full resolution before the
    last one, and one convolution a level: 7.9 million weights with the default channels.
    """

    def __init__(
        self,
        inputs: int = 4,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        tasks: Mapping[str, Mapping] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.outputs = {
            name: spec["outputs"] for name, spec in (tasks or {"structure": {"outputs": 8}}).items()
        }
        *widths, deepest = channels
        self.stride = 2 ** len(widths)
        self.down = nn.ModuleList(
            _layer(nn.Conv3d(inner, outer, 3, stride=2, padding=1, bias=False), outer, dropout)
            for inner, outer in zip((inputs, *widths), widths, strict=False)
        )
        self.bottom = _layer(nn.Conv3d(widths[-1], deepest, 3, padding=1, bias=False), deepest, dropout)
        into = [deepest, *reversed(widths[:-1])]
        outer = [*reversed(widths[:-1]), sum(self.outputs.values())]
        up = [
            nn.ConvTranspose3d(a + b, c, 3, stride=2, padding=1, output_padding=1)
            for a, b, c in zip(into, reversed(widths), outer, strict=True)
        ]
        self.up = nn.ModuleList(
            [*(_layer(layer, c, dropout) for layer, c in zip(up, outer[:-1], strict=False)), up[-1]]
        )

    def forward(self, x: Tensor, prior: None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute the logits of every task.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, X, Y, Z)
            Image in [0, 1], then coordinates; orientation RAS.

        Returns
        -------
        dict
            For each task the logits at full and, averaged, at half resolution.
        """
        features = []
        for layer in self.down:
            x = layer(x)
            features.append(x)
        x = self.bottom(x)
        for layer, shallow in zip(self.up, reversed(features), strict=True):
            x = layer(torch.cat([x, shallow], 1))
        parts = x.split(list(self.outputs.values()), 1)
        return {name: (p, F.avg_pool3d(p, 2)) for name, p in zip(self.outputs, parts, strict=True)}


def _layer(layer: nn.Module, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(layer, InstanceNorm(width), nn.Dropout3d(dropout), nn.LeakyReLU(0.01, inplace=True))
