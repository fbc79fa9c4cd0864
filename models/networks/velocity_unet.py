"""A network that predicts the velocity between two brains: a start for the optimisation, or all of it.

SynthMorph's idea (Hoffmann et al. 2022): trained on synthetic pairs from label maps, so that no contrast is
foreign to it. It sees what the optimisation matches, the maps of the structures and the intensities, in the
middle space at a coarse resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..deformation.velocity import taper
from .stem_unet import Block


class VelocityUNet(nn.Module):
    """U-Net from two stacks of maps to a velocity that changes its sign when they change places.

    Parameters
    ----------
    inputs : int
        Channels of one stack.
    channels : sequence of int
        Channels of the levels; the first works at the input's resolution.

    Notes
    -----
    The velocity is half of what the U-Net says of (a, b) minus what it says of (b, a). Every side of the
    input must be a multiple of ``stride``.
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
        nn.init.zeros_(self.flow.bias)

    def forward(self, x: Tensor, prior: None = None) -> dict[str, Tensor]:
        """Compute the velocity.

        Parameters
        ----------
        x : Tensor, shape (B, 2 * inputs, X, Y, Z)
            The stack of the moving image, then that of the fixed one.

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
    """Velocity (voxels), shape (3, X, Y, Z), that falls to zero over ``margin`` voxels at the grid's edge.

    Parameters
    ----------
    network : VelocityUNet
        Trained.
    moving, fixed : Tensor, shape (inputs, X, Y, Z)
        What the network sees of both images, at its voxel size.
    margin : int
        Voxels.
    device : str
        Where the network runs.
    flip : bool
        Mean over the pair and its mirror image.
    """
    if flip:
        other = predict(network, moving.flip(1), fixed.flip(1), margin, device).flip(1)
        other[0] *= -1
        return (predict(network, moving, fixed, margin, device) + other) / 2
    shape = tuple(moving.shape[1:])
    pad = [n for size in reversed(shape) for n in (0, -size % network.stride)]
    x = F.pad(torch.cat([moving, fixed])[None], pad).to(device, memory_format=torch.channels_last_3d)
    found = network(x)["velocity"][0].cpu()
    x_size, y_size, z_size = shape
    return (found[:, :x_size, :y_size, :z_size] * taper(shape, margin)).clone()
