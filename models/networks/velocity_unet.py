"""A network that predicts the velocity between two brains, as the start or in place of the optimization.

As in SynthMorph (Hoffmann et al. 2022), training on synthetic pairs from label maps makes it independent of
the contrast. Its inputs are the feature maps of the optimization (structures and intensities), in the middle
space at a coarse resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..deformation.velocity import taper
from ..geometry.axes import triple
from .stem_unet import Block


class VelocityUNet(nn.Module):
    """U-Net from the feature maps of two images to the velocity, antisymmetric in the images.

    Parameters
    ----------
    inputs : int
        Number of feature maps of one image.
    channels : sequence of int
        Channels of the levels; the first works at the input's resolution.

    Notes
    -----
    The velocity is half of the U-Net's output for (a, b) minus that for (b, a). Every side of the input must
    be a multiple of ``stride``.
    """

    def __init__(self, inputs: int = 10, channels: Sequence[int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        self.inputs, self.stride = inputs, 2 ** (len(channels) - 1)
        self.down = nn.ModuleList(
            Block(2 * inputs if level == 0 else channels[level - 1], width)
            for level, width in enumerate(channels)
        )
        self.up = nn.ModuleList(
            Block(channels[level + 1] + channels[level], channels[level])
            for level in reversed(range(len(channels) - 1))
        )
        self.flow = nn.Conv3d(channels[0], 3, 3, padding=1)
        nn.init.normal_(self.flow.weight, std=1e-3)
        nn.init.zeros_(cast(Tensor, self.flow.bias))

    def forward(self, x: Tensor, prior: None = None) -> dict[str, Tensor]:
        """Compute the velocity.

        Parameters
        ----------
        x : Tensor, shape (B, 2 * inputs, X, Y, Z)
            Feature maps of the moving image, then those of the fixed one.

        Returns
        -------
        dict
            ``velocity``: Tensor, shape (B, 3, X, Y, Z), voxels along the array's axes.
        """
        moving, fixed = x.chunk(2, 1)
        both = torch.cat([x, torch.cat([fixed, moving], 1)])
        there, back = self._either(both).float().chunk(2)
        return {"velocity": (there - back) / 2}

    def _either(self, x: Tensor) -> Tensor:
        features = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            features.append(x)
        for block, shallow in zip(self.up, reversed(features[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), shallow], 1))
        return self.flow(x)


@torch.inference_mode()
def predict(
    network: VelocityUNet,
    moving: Tensor,
    fixed: Tensor,
    margin: int,
    device: str = "cpu",
    *,
    flip: bool = False,
) -> Tensor:
    """Predict the velocity, tapered to zero at the grid's edge.

    Parameters
    ----------
    network : VelocityUNet
        Trained network, on ``device``.
    moving, fixed : Tensor, shape (inputs, X, Y, Z)
        Feature maps of both images, at the network's voxel size.
    margin : int
        Width (voxels) of the taper.
    device : str
        Device of the network.
    flip : bool
        Mean over the pair and its mirror image.

    Returns
    -------
    Tensor, shape (3, X, Y, Z)
        Velocity (voxels).
    """
    if flip:
        other = predict(network, moving.flip(1), fixed.flip(1), margin, device).flip(1)
        other[0] *= -1
        return (predict(network, moving, fixed, margin, device) + other) / 2
    shape = triple(moving.shape[1:])
    pad = [n for size in reversed(shape) for n in (0, -size % network.stride)]
    x = F.pad(torch.cat([moving, fixed])[None], pad).to(device, memory_format=torch.channels_last_3d)
    found = network(x)["velocity"][0].cpu()
    x_size, y_size, z_size = shape
    return (found[:, :x_size, :y_size, :z_size] * taper(shape, margin)).clone()
