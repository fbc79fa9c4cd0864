"""A U-Net that works in slices: for scans whose slices are thick, and for little training data.

Ronneberger et al. 2015, with batch normalization. What lies above and below a slice comes as further
channels, so that volumes of any slice thickness are seen alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SliceBlock(nn.Sequential):
    """Two 3x3 convolutions within slices, each normalized and rectified."""

    def __init__(self, inner: int, outer: int) -> None:
        layers: list[nn.Module] = []
        for first in (inner, outer):
            layers += [
                nn.Conv3d(first, outer, (3, 3, 1), padding=(1, 1, 0), bias=False),
                nn.BatchNorm3d(outer),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class SliceUNet(nn.Module):
    """U-Net over the first two axes; along the third, slices are independent of each other.

    Parameters
    ----------
    inputs : int
        Channels of the input: the slice first, then its neighbours.
    channels : sequence of int
        Channels of every level, from the finest.
    task : str
        Name of what it predicts.

    Notes
    -----
    The first two sides of the input must be multiples of ``stride``. Batch normalization, because brightness
    against the whole brain is what tells a lesion: instance normalization would take it away slice by slice.
    """

    def __init__(
        self, inputs: int = 3, channels: Sequence[int] = (16, 32, 64, 96, 128), task: str = "lesion"
    ) -> None:
        super().__init__()
        self.task, self.stride = task, 2 ** (len(channels) - 1)
        self.down = nn.ModuleList(
            SliceBlock(inputs if level == 0 else channels[level - 1], width)
            for level, width in enumerate(channels)
        )
        self.lift = nn.ModuleList(
            nn.ConvTranspose3d(deeper, width, (2, 2, 1), stride=(2, 2, 1))
            for deeper, width in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(SliceBlock(2 * width, width) for width in channels[-2::-1])
        self.out = nn.Conv3d(channels[0], 1, 1)

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Logit of the task, shape (B, 1, X, Y, Z), twice: there is no output at half resolution."""
        features = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, (2, 2, 1)))
            features.append(x)
        for lift, block, shallow in zip(self.lift, self.up, reversed(features[:-1]), strict=True):
            x = block(torch.cat([lift(x), shallow], 1))
        logit = self.out(x)
        return {self.task: (logit, logit)}
