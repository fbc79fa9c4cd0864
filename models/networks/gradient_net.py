"""A registration network that predicts how far apart neighbouring points come to lie, and sums this up.

After the description of Estienne et al. (2020, arXiv:2010.10897), third in Learn2Reg 2020's task 4: both
images go through one encoder, their features are subtracted at every level, a decoder of transposed
convolutions makes of the differences the spatial gradients of the deformation along each axis (0.5: as far
apart as before), and their sums along the axes are the grid. Nothing makes it invertible but the penalty on
the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..deformation.velocity import identity
from ..deformation.warp import Warp
from ..geometry.cropping import framed
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
        Resolutions at which gradients are predicted while it trains (deep supervision), the finest first.
    affine : bool
        Whether an affine, predicted from the deepest differences, goes before the deformation.

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
        """Gradients and displacements both ways, at every scale, the finest first.

        Parameters
        ----------
        x : Tensor, shape (B, 2, X, Y, Z)
            Moving and fixed image in [0, 1].
        prior : None
            There is none; all networks are called alike.

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
    """Displacements (voxels) of the grid that gradients sum up to, after an affine.

    Parameters
    ----------
    gradients : Tensor, shape (B, 3, X, Y, Z)
        Half the distance, in voxels, of a point from the one before it, along each axis.
    linear : Tensor, shape (B, 12), optional
        What an affine adds to the identity, about the grid's middle, its shift as a share of half the grid.

    Examples
    --------
    >>> float(accumulated(torch.full((1, 3, 4, 5, 6), 0.5)).abs().max())
    0.0
    """
    sums = [torch.cumsum(2 * gradients[:, k], k + 1) - 1 for k in range(3)]
    where = torch.stack(sums, 1)
    shape: tuple[int, int, int] = tuple(gradients.shape[2:])  # type: ignore[assignment]
    if linear is not None:
        half = (torch.tensor(shape, dtype=where.dtype, device=where.device) - 1)[:, None] / 2
        matrix = linear.view(-1, 3, 4)
        centred = (where.flatten(2) - half) / half
        moved = centred + matrix[:, :, :3] @ centred + matrix[:, :, 3:]
        where = (moved * half + half).view_as(where)
    return where - identity(shape, where)


def displaced(labels: Tensor, displacement: Tensor) -> Tensor:
    """Labels (B, X, Y, Z) at the grid's points after a displacement in voxels, the nearest ones."""
    shape: tuple[int, int, int] = tuple(displacement.shape[2:])  # type: ignore[assignment]
    out = torch.zeros_like(labels)
    for number, (values, there) in enumerate(zip(labels, displacement, strict=True)):
        where = (identity(shape, there) + there).round().long()
        size = torch.tensor(shape, device=where.device).view(3, 1, 1, 1)
        inside = ((where >= 0) & (where < size)).all(0)
        x, y, z = torch.minimum(where.clamp(min=0), size - 1)
        out[number] = values[x, y, z] * inside
    return out


def align(network: GradientNet, moving: Volume, fixed: Volume, side: int = 64) -> Warp:
    """What resamples one crop onto another.

    Parameters
    ----------
    network : GradientNet
        Trained on crops of that size.
    moving, fixed : Volume
        Intensities in [0, 1], upright, with voxels of 1 mm.
    side : int
        Voxels along every side of the box that the network sees; what is smaller gets zeros around.
    """
    moving, fixed = (framed(one, (side, side, side)) for one in (moving, fixed))
    with torch.inference_mode():
        out = network(torch.stack([moving.data, fixed.data])[None])["forward"][0][1][0]
    there = torch.einsum("ij,jxyz->ixyz", torch.from_numpy(fixed.affine[:3, :3]).to(out), out)
    return Warp((Volume(there, fixed.affine), moving.affine @ np.linalg.inv(fixed.affine)))
