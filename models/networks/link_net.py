"""LinkNet in three dimensions (Chaurasia and Culurciello 2017), for published networks.

A residual encoder whose features are added, not concatenated, to those of a narrow decoder: little memory and
time at a high resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def _normalized(inner: int, outer: int, size: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv3d(inner, outer, size, stride, padding, bias=False), nn.InstanceNorm3d(outer)]


class Residual(nn.Module):
    """Two 3x3x3 convolutions whose result is added to the input.

    Parameters
    ----------
    inner, outer : int
        Channels of input and output.
    stride : int
        Stride of the first convolution.
    """

    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normalized(inner, outer, 3, stride, 1), nn.ReLU(True), *_normalized(outer, outer, 3, 1, 1)
        )
        change = stride > 1 or inner != outer
        self.skip = nn.Sequential(*_normalized(inner, outer, 1, stride)) if change else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of ``x`` (B, C, X, Y, Z)."""
        return F.relu(self.body(x) + self.skip(x))


class Up(nn.Sequential):
    """Bottleneck with a transposed convolution.

    Parameters
    ----------
    inner, outer : int
        Channels of input and output.
    stride : int
        Factor of the resolution.
    """

    def __init__(self, inner: int, outer: int, stride: int = 2) -> None:
        narrow = inner // 4
        super().__init__(
            *_normalized(inner, narrow, 1),
            nn.ReLU(True),
            nn.ConvTranspose3d(narrow, narrow, 3, stride, 1, stride - 1, bias=False),
            nn.InstanceNorm3d(narrow),
            nn.ReLU(True),
            *_normalized(narrow, outer, 1),
            nn.ReLU(True),
        )


class LinkNet(nn.Module):
    """Encoder and decoder with added features.

    Parameters
    ----------
    channels : sequence of int
        Channels of the encoder's levels.
    outputs : int
        Number of logits.
    """

    def __init__(self, channels: Sequence[int], outputs: int = 2) -> None:
        super().__init__()
        first, half = channels[0], channels[0] // 2
        self.stride = 2 ** (len(channels) + 1)
        self.stem = nn.Sequential(*_normalized(1, first, 7, 2, 3), nn.ReLU(True), nn.MaxPool3d(3, 2, 1))
        before = [first, *channels]
        self.down = nn.ModuleList(
            nn.Sequential(Residual(a, b, 2 if k else 1), Residual(b, b))
            for k, (a, b) in enumerate(zip(before, channels, strict=False))
        )
        self.up = nn.ModuleList(
            Up(b, a, 2 if k else 1)
            for k, (a, b) in reversed(list(enumerate(zip(before, channels, strict=False))))
        )
        self.head = nn.Sequential(
            nn.ConvTranspose3d(first, half, 3, 2, 1, 1),
            nn.InstanceNorm3d(half),
            nn.ReLU(True),
            nn.Conv3d(half, half, 3, padding=1),
            nn.InstanceNorm3d(half),
            nn.ReLU(True),
            nn.ConvTranspose3d(half, outputs, 2, 2),
        )

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the logits (B, outputs, X, Y, Z) of ``x`` (B, 1, X, Y, Z) as task ``mask``."""
        features = [self.stem(x)]
        for level in self.down:
            features.append(level(features[-1]))
        x = features.pop()
        for level in self.up:
            x = level(x) + features.pop()
        logits = self.head(x)
        return {"mask": (logits, logits)}
