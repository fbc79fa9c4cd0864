"""The network of WarpSeg: a residual encoder, a coarse decoder and a fine decoder after it.

Channels 16 to 256, pre-activation residual blocks, InstanceNorm, ELU, convolutions with stride 2 between the
levels. The image and the coarse logits are inputs of the fine decoder at full resolution. Any recipe trains
it with ``network: CoarseToFine``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stem_unet import InstanceNorm


class Residual(nn.Module):
    """Two convolutions, each after norm and ELU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            InstanceNorm(channels),
            nn.ELU(),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
            nn.ELU(),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to ``x``."""
        return x + self.body(x)


class Upward(nn.Module):
    """Decoder from the deepest features to full resolution."""

    def __init__(self, channels: Sequence[int], extra: int = 0) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.reduce = nn.ModuleList(nn.Conv3d(deep, wide, 1, bias=False) for wide, deep in reversed(pairs))
        self.blocks = nn.ModuleList(Residual(wide) for wide, _ in reversed(pairs))
        self.see = nn.Conv3d(extra, channels[0], 3, padding=1, bias=False) if extra else None

    def forward(self, features: Sequence[Tensor], extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return features at full and at half resolution; ``extra`` joins at full resolution."""
        x, half = features[-1], features[-1]
        for reduce, block, shallow in zip(self.reduce, self.blocks, reversed(features[:-1]), strict=True):
            half = x
            x = F.interpolate(reduce(x), scale_factor=2, mode="trilinear", align_corners=False) + shallow
            if shallow is features[0] and self.see is not None:
                x = x + self.see(extra)
            x = block(x)
        return x, half


class CoarseToFine(nn.Module):
    """U-Net with one decoder for the tissues and one for the structures, which uses the tissues.

    Parameters
    ----------
    inputs : int
        Channels of the input, the image first.
    channels : sequence of int
        Channels of the encoder's levels; the first works at full resolution.
    structures, tissues : int
        Outputs of the two decoders.
    prior : int
        Channels of a prior at half resolution (a coarser network's posteriors), 0 for none.

    Notes
    -----
    Every side of the input must be a multiple of ``stride``.
    """

    def __init__(
        self,
        inputs: int = 4,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        structures: int = 19,
        tissues: int = 6,
        prior: int = 0,
    ) -> None:
        super().__init__()
        self.stride = 2 ** (len(channels) - 1)
        self.stem = nn.Conv3d(inputs, channels[0], 3, padding=1, bias=False)
        self.levels = nn.ModuleList(Residual(width) for width in channels)
        self.down = nn.ModuleList(
            nn.Conv3d(wide, deep, 3, stride=2, padding=1, bias=False) for wide, deep in pairwise(channels)
        )
        self.condition = nn.Conv3d(prior, channels[1], 1) if prior else None
        self.coarse = Upward(channels)
        self.fine = Upward(channels, 1 + tissues)
        self.heads = nn.ModuleDict(
            {
                name: nn.ModuleList(nn.Conv3d(width, outputs, 1) for width in channels[:2])
                for name, outputs in (("tissue", tissues), ("structure", structures))
            }
        )

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute the logits of ``tissue`` and ``structure``.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, X, Y, Z)
            Image in [0, 1], then coordinates.
        prior : Tensor, shape (B, prior, X/2, Y/2, Z/2), optional
            Probabilities.

        Returns
        -------
        dict
            For each task the logits at full and at half resolution.
        """
        features = [self.levels[0](self.stem(x))]
        for level, down in enumerate(self.down, 1):
            h = down(features[-1])
            if level == 1 and self.condition is not None:
                h = h + self.condition(prior)
            features.append(self.levels[level](h))
        tissue = self._logits("tissue", self.coarse(features))
        fine = self.fine(features, torch.cat([x[:, :1], tissue[0].to(x.dtype)], 1))
        return {"structure": self._logits("structure", fine), "tissue": tissue}

    def _logits(self, name: str, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        heads = cast(nn.ModuleList, self.heads[name])
        full, half = (head(h) for head, h in zip(heads, features, strict=True))
        return full, half
