"""Random shapes: affine matrices and smooth deformations of the atlas cube."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import GeneratorConfig

BOX = 240.0
"""Side (mm) of the atlas cube, the domain of the nonlinear deformation."""

GRID = 40
"""Voxels along a side of the atlas cube."""

SQUARINGS = 5


def uniform(low: float, high: float) -> float:
    """Return a uniform random number from torch's global generator."""
    return low + (high - low) * float(torch.rand(()))


def integer(low: int, high: int) -> int:
    """Return a random integer from ``low`` to ``high - 1``."""
    return int(torch.randint(low, high, ()))


def affine(config: GeneratorConfig) -> Tensor:
    """Return a random matrix (3, 3) from world mm to atlas mm."""
    rotation = torch.eye(3)
    for i, j in ((1, 2), (0, 2), (0, 1)):
        angle = math.radians(uniform(-config.rotation, config.rotation))
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ turn
    overall = uniform(-config.scaling, config.scaling) * 0.7
    scale = torch.tensor([1 + overall + uniform(-1, 1) * config.scaling * 0.4 for _ in range(3)])
    shear = torch.eye(3) + torch.triu((torch.rand(3, 3) * 2 - 1) * config.shearing, 1)
    return rotation @ torch.diag(scale) @ shear


def deformation(config: GeneratorConfig, device: torch.device) -> Tensor:
    """Return a random displacement (mm), shape (1, 3, GRID, GRID, GRID).

    It is the flow of a smooth velocity with two sets of control points: coarse ones for the shape of the
    head, fine ones for the shape of its structures.
    """
    velocity = torch.zeros(1, 3, GRID, GRID, GRID, device=device)
    for points, strength in ((integer(4, 12), config.deformation), (integer(18, 28), config.detail)):
        if strength:
            velocity += noise_field(3, points, device) * uniform(0, strength)
    moved = velocity / 2**SQUARINGS
    axis = torch.linspace(-1, 1, GRID, device=device)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    identity = torch.stack([x, y, z], -1)[None]
    for _ in range(SQUARINGS):
        # The channels are x, y, z in space; x is the first axis of the tensor.
        where = identity + moved.permute(0, 2, 3, 4, 1).flip(-1) / (BOX / 2)
        moved = moved + F.grid_sample(moved, where, padding_mode="border", align_corners=True)
    return moved


def noise_field(channels: int, points: int, device: torch.device) -> Tensor:
    """Return normal random numbers on ``points`` control points per side, interpolated to the atlas cube."""
    coarse = torch.randn(1, channels, points, points, points, device=device)
    return F.interpolate(coarse, size=(GRID,) * 3, mode="trilinear", align_corners=True)


def linear(matrix: Tensor, line: list[Tensor]) -> list[Tensor]:
    """Return the rows of ``matrix`` (R, 3) times the positions of a grid.

    Parameters
    ----------
    matrix : Tensor, shape (R, 3)
        Matrix.
    line : list of Tensor
        Coordinates of the grid along each axis.
    """
    x, y, z = line[0][:, None, None], line[1][None, :, None], line[2][None, None, :]
    return [row[0] * x + row[1] * y + row[2] * z for row in matrix]
