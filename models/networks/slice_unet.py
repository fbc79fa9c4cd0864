"""A U-Net within slices, for scans with thick slices and for small training sets.

Ronneberger et al. 2015, with batch normalization. Adjacent slices are further channels, so that the slice
thickness does not matter.
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
    """U-Net over the first two axes; slices along the third axis are independent.

    Parameters
    ----------
    inputs : int
        Channels of the input: the slice first, then its neighbors.
    channels : sequence of int
        Channels of every level, from the finest.
    task : str
        Name of the prediction.
    fold : int
        Side of the squares of voxels that are folded into channels and unfolded at the end. With 2 the
        network works at half the resolution, in a quarter of the time, and predicts at full resolution.
    outputs : int
        Number of logits.

    Notes
    -----
    The first two sides of the input must be multiples of ``stride``. Lesions differ from the whole brain in
    brightness. Batch normalization keeps this difference; instance normalization removes it in every slice.
    """

    def __init__(
        self,
        inputs: int = 3,
        channels: Sequence[int] = (16, 32, 64, 96, 128),
        task: str = "lesion",
        fold: int = 1,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.task, self.fold, self.stride = task, fold, fold * 2 ** (len(channels) - 1)
        self.down = nn.ModuleList(
            SliceBlock(inputs * fold**2 if level == 0 else channels[level - 1], width)
            for level, width in enumerate(channels)
        )
        self.lift = nn.ModuleList(
            nn.ConvTranspose3d(deeper, width, (2, 2, 1), stride=(2, 2, 1))
            for deeper, width in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(SliceBlock(2 * width, width) for width in channels[-2::-1])
        self.out = nn.Conv3d(channels[0], outputs * fold**2, 1)

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute the logits of the task.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, X, Y, Z)
            Slices and their neighbors.
        prior : None
            Unused; all networks have the same signature.

        Returns
        -------
        dict
            The logits (B, outputs, X, Y, Z) twice, since there is none at half resolution.
        """
        x = _folded(x, self.fold)
        features = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, (2, 2, 1)))
            features.append(x)
        for lift, block, shallow in zip(self.lift, self.up, reversed(features[:-1]), strict=True):
            x = block(torch.cat([lift(x), shallow], 1))
        logit = _unfolded(self.out(x), self.fold)
        return {self.task: (logit, logit)}


def _folded(x: Tensor, fold: int) -> Tensor:
    """Fold squares of voxels into channels, shape (B, C * fold^2, X / fold, Y / fold, Z)."""
    if fold == 1:
        return x
    b, c, nx, ny, nz = x.shape
    parts = x.reshape(b, c, nx // fold, fold, ny // fold, fold, nz).permute(0, 1, 3, 5, 2, 4, 6)
    return parts.reshape(b, c * fold**2, nx // fold, ny // fold, nz).contiguous(
        memory_format=torch.channels_last_3d
    )


def _unfolded(x: Tensor, fold: int) -> Tensor:
    """Unfold channels into squares of voxels, shape (B, outputs, X * fold, Y * fold, Z)."""
    if fold == 1:
        return x
    b, c, nx, ny, nz = x.shape
    parts = x.reshape(b, c // fold**2, fold, fold, nx, ny, nz).permute(0, 1, 4, 2, 5, 3, 6)
    return parts.reshape(b, c // fold**2, nx * fold, ny * fold, nz)
