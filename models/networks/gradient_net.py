"""A registration network that predicts the spatial gradients of the deformation and integrates them.

After Estienne et al. (2020, arXiv:2010.10897), third in task 4 of Learn2Reg 2020. One encoder processes both
images, and their features are subtracted at every level. A decoder of transposed convolutions predicts the
spatial gradients of the deformation along each axis (0.5: unchanged distance); their sums along the axes are
the grid. Only the penalty on the gradients keeps the deformation invertible.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..deformation.velocity import identity
from ..deformation.warp import Warp
from ..geometry.axes import triple
from ..geometry.cropping import crop_or_pad
from ..geometry.volume import Volume
from .stem_unet import InstanceNorm


class Residual(nn.Module):
    """Two convolutions, each normalized and rectified, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
            nn.LeakyReLU(0.01),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
        )
        self.last = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to ``x``."""
        return self.last(x + self.body(x))


class GradientNet(nn.Module):
    """The network of Estienne et al. (2020).

    Parameters
    ----------
    channels : sequence of int
        Channels of the encoder's levels; the first works at full resolution.
    scales : int
        Number of resolutions with predicted gradients (deep supervision), the finest first.
    affine : bool
        Whether an affine, predicted from the deepest differences, precedes the deformation.

    Notes
    -----
    Every side of the input must be a multiple of ``stride``. The last layers begin at zero: an untrained
    network is the identity.
    """

    def __init__(
        self, channels: Sequence[int] = (32, 64, 128, 256, 512), scales: int = 4, affine: bool = True
    ) -> None:
        super().__init__()
        self.stride = 2 ** (len(channels) - 1)
        self.stem = nn.Conv3d(1, channels[0], 3, padding=1, bias=False)
        self.levels = nn.ModuleList(Residual(width) for width in channels)
        self.down = nn.ModuleList(
            nn.Conv3d(wide, deep, 3, stride=2, padding=1, bias=False) for wide, deep in pairwise(channels)
        )
        steps = list(reversed(list(pairwise(channels))))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, stride=2) for wide, deep in steps)
        self.join = nn.ModuleList(nn.Conv3d(2 * wide, wide, 1, bias=False) for wide, _ in steps)
        self.blocks = nn.ModuleList(Residual(wide) for wide, _ in steps)
        self.heads = nn.ModuleList(nn.Conv3d(width, 3, 1) for width in channels[: min(scales, len(steps))])
        self.affine = nn.Linear(channels[-1], 12) if affine else None
        for layer in (*self.heads, *([self.affine] if self.affine is not None else [])):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, list[tuple[Tensor, Tensor]]]:
        """Compute gradients and displacements in both directions at every scale, the finest first.

        Parameters
        ----------
        x : Tensor, shape (B, 2, X, Y, Z)
            Moving and fixed image in [0, 1].
        prior : None
            Unused; all networks have the same signature.

        Returns
        -------
        dict
            ``forward`` resamples moving onto fixed, ``backward`` fixed onto moving: for each scale the
            gradients (B, 3, x, y, z), and the displacements in voxels of that scale.
        """
        moving, fixed = self._encode(x[:, :1]), self._encode(x[:, 1:])
        differences = [a - b for a, b in zip(moving, fixed, strict=True)]
        return {"forward": self._decode(differences), "backward": self._decode([-d for d in differences])}

    def _encode(self, image: Tensor) -> list[Tensor]:
        features = [self.levels[0](self.stem(image))]
        for level, down in enumerate(self.down, 1):
            features.append(self.levels[level](down(features[-1])))
        return features

    def _decode(self, differences: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        x = differences[-1]
        linear = None if self.affine is None else self.affine(x.mean((2, 3, 4))).float()
        found = []
        left = len(self.up)
        for up, join, block, skip in zip(
            self.up, self.join, self.blocks, reversed(differences[:-1]), strict=True
        ):
            x = block(join(torch.cat([up(x), skip], 1)))
            left -= 1
            if left < len(self.heads):
                gradients = self.heads[left](x).float().sigmoid()
                found.append((gradients, accumulated(gradients, linear)))
        return found[::-1]


def accumulated(gradients: Tensor, linear: Tensor | None = None) -> Tensor:
    """Integrate gradients to displacements, after an affine.

    Parameters
    ----------
    gradients : Tensor, shape (B, 3, X, Y, Z)
        Half the distance (voxels) of a point from the previous one, along each axis.
    linear : Tensor, shape (B, 12), optional
        Affine minus identity, about the grid's center; its shift is relative to half the grid.

    Returns
    -------
    Tensor, shape (B, 3, X, Y, Z)
        Displacements (voxels).

    Examples
    --------
    >>> float(accumulated(torch.full((1, 3, 4, 5, 6), 0.5)).abs().max())
    0.0
    """
    sums = [torch.cumsum(2 * gradients[:, k], k + 1) - 1 for k in range(3)]
    where = torch.stack(sums, 1)
    shape = triple(gradients.shape[2:])
    if linear is not None:
        half = (torch.tensor(shape, dtype=where.dtype, device=where.device) - 1)[:, None] / 2
        matrix = linear.view(-1, 3, 4)
        centered = (where.flatten(2) - half) / half
        moved = centered + matrix[:, :, :3] @ centered + matrix[:, :, 3:]
        where = (moved * half + half).view_as(where)
    return where - identity(shape, where)


def displaced(labels: Tensor, displacement: Tensor) -> Tensor:
    """Return labels at displaced points, by nearest-neighbor interpolation.

    Parameters
    ----------
    labels : Tensor of int, shape (B, X, Y, Z)
        Label maps.
    displacement : Tensor, shape (B, 3, X, Y, Z)
        Displacements (voxels).

    Returns
    -------
    Tensor of int, shape (B, X, Y, Z)
        Labels; 0 outside the label maps.
    """
    shape = triple(displacement.shape[2:])
    out = torch.zeros_like(labels)
    for number, (values, there) in enumerate(zip(labels, displacement, strict=True)):
        where = (identity(shape, there) + there).round().long()
        size = torch.tensor(shape, device=where.device).view(3, 1, 1, 1)
        inside = ((where >= 0) & (where < size)).all(0)
        x, y, z = torch.minimum(where.clamp(min=0), size - 1)
        out[number] = values[x, y, z] * inside
    return out


def align(network: GradientNet, moving: Volume, fixed: Volume, side: int = 64) -> Warp:
    """Register one crop to another.

    Parameters
    ----------
    network : GradientNet
        Trained on crops of ``side`` voxels.
    moving, fixed : Volume
        Intensities in [0, 1], upright, with voxels of 1 mm.
    side : int
        Voxels along every side of the network's input; smaller crops are padded with zeros.

    Returns
    -------
    Warp
        Resamples moving onto fixed.
    """
    moving, fixed = (crop_or_pad(one, (side, side, side)) for one in (moving, fixed))
    with torch.inference_mode():
        out = network(torch.stack([moving.data, fixed.data])[None])["forward"][0][1][0]
    there = torch.einsum("ij,jxyz->ixyz", torch.from_numpy(fixed.affine[:3, :3]).to(out), out)
    return Warp((Volume(there, fixed.affine), moving.affine @ np.linalg.inv(fixed.affine)))
