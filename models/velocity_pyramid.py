"""A network that predicts a velocity from coarse to fine, bringing its features of both together on the way.

What a U-Net of both images at once has to do in one look, this does level by level: features of each image
by itself, carried half of the way by the velocity so far, and what is still missing between them (as
Hu et al. 2019, dual-stream pyramids, and Mok & Chung 2020, LapIRN). It can also say what parts it sees in
each image, so that training tells its features where raters put borders.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks import Block
from .velocity import exponential, identity, sample

SQUARINGS = 4


class VelocityPyramid(nn.Module):
    """Two stacks of maps to a velocity that changes its sign when they change places.

    Parameters
    ----------
    inputs : int
        Channels of one stack.
    channels : sequence of int
        Channels of the levels of the features; the first works at the input's resolution.
    rounds : sequence of int
        How often each level says what is missing, from the finest.
    parts : int
        Classes that the features tell, the background among them; 0 for none.

    Notes
    -----
    What a level adds is half of what it says of (a, b) minus what it says of (b, a), both carried to the
    middle by the velocity so far. Every side of the input must be a multiple of ``stride``.
    """

    def __init__(
        self,
        inputs: int = 5,
        channels: Sequence[int] = (16, 32, 48, 64),
        rounds: Sequence[int] = (2, 1, 1, 1),
        parts: int = 0,
    ) -> None:
        super().__init__()
        self.inputs, self.stride, self.rounds = inputs, 2 ** (len(channels) - 1), tuple(rounds)
        self.down = nn.ModuleList(
            Block(channels[level - 1] if level else inputs, width) for level, width in enumerate(channels)
        )
        self.up = nn.ModuleList(
            Block(channels[level + 1] + channels[level], channels[level])
            for level in reversed(range(len(channels) - 1))
        )
        self.missing = nn.ModuleList(
            nn.ModuleList(_Missing(width) for _ in range(count))
            for width, count in zip(channels, self.rounds, strict=True)
        )
        self.parts = nn.Conv3d(channels[0], parts, 1) if parts else None

    def forward(self, x: Tensor, prior: None = None) -> dict[str, Tensor]:
        """Compute the velocity.

        Parameters
        ----------
        x : Tensor, shape (B, 2 * inputs, X, Y, Z)
            The stack of the moving image, then that of the fixed one.

        Returns
        -------
        dict
            ``velocity``: Tensor, shape (B, 3, X, Y, Z), voxels along the array's axes; with ``parts`` also
            ``parts``: Tensor, shape (2 * B, parts, X, Y, Z), logits of the moving images, then of the fixed.
        """
        features = self._features(torch.cat(x.chunk(2, 1)))
        count = len(x)
        velocity: Tensor | None = None
        for level in reversed(range(len(features))):
            if velocity is not None:
                velocity = 2 * F.interpolate(velocity, scale_factor=2, mode="trilinear", align_corners=False)
            for missing in self.missing[level]:
                there, back = features[level][:count], features[level][count:]
                if velocity is not None:
                    there, back = _halfway(there, -velocity / 2), _halfway(back, velocity / 2)
                said = missing(torch.cat([torch.cat([there, back], 1), torch.cat([back, there], 1)]))
                one, other = said.float().chunk(2)
                velocity = (one - other) / 2 + (0 if velocity is None else velocity)
        assert velocity is not None
        out = {"velocity": velocity}
        return out if self.parts is None else out | {"parts": self.parts(features[0])}

    def _features(self, x: Tensor) -> list[Tensor]:
        """Of every level, from the finest; each has seen the coarser ones."""
        features = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            features.append(x)
        for block, level in zip(self.up, reversed(range(len(features) - 1)), strict=True):
            x = F.interpolate(features[level + 1], scale_factor=2, mode="nearest")
            features[level] = block(torch.cat([x, features[level]], 1))
        return features


class _Missing(nn.Sequential):
    """From the features of both images to the velocity (voxels of the level) between them."""

    def __init__(self, width: int) -> None:
        flow = nn.Conv3d(width, 3, 3, padding=1)
        nn.init.normal_(flow.weight, std=1e-3)
        assert flow.bias is not None
        nn.init.zeros_(flow.bias)
        super().__init__(Block(2 * width, width), flow)


def _halfway(features: Tensor, velocity: Tensor) -> Tensor:
    """Features (B, C, X, Y, Z) where the flow of a velocity (B, 3, X, Y, Z) leads."""
    index = identity(tuple(velocity.shape[2:]), velocity)  # type: ignore[arg-type]
    moved = [
        sample(one.float(), index + exponential(v, SQUARINGS, index))
        for one, v in zip(features, velocity, strict=True)
    ]
    return torch.stack(moved).to(features.dtype)
