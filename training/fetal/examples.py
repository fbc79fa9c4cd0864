"""From a generated fetal brain to what a network sees and is asked for, in any position or upright."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...models.networks.inference import COORDINATE_SCALE
from ..heads.examples import Example
from .generator import FetalGenerator, uniform


class AnyPosition:
    """A whole brain at a coarse voxel size, lying in any way: surface and tissues."""

    def __init__(self, generator: FetalGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Draw a brain; one example."""
        return [self.example(number)]

    def example(self, number: int | None = None) -> Example:
        """Draw a brain (the given subject, or any)."""
        g, c = self.generator, self.generator.config
        number = g.draw() if number is None else number % len(g.cases)
        free = uniform(0, 1) < c.any_position
        turn = any_rotation() if free else small_rotation(c.rotation * 2)
        turn = stretch(c.scaling * 1.5, c.anisotropy) @ turn
        shift = torch.randn(3).clamp(-2, 2) * (c.shift * (2.5 if free else 1.0))
        image, structure, distance, _ = g.render(number, turn, shift, self.spacing, self.shape, False)
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image)
        targets = {"structure": structure[None], "distance": distance[None]}
        return Example(torch.cat([image[None], grid])[None], None, targets)


class Upright:
    """A brain in the atlas frame, nearly upright as the coarse network puts it."""

    def __init__(self, generator: FetalGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Draw a brain; one example."""
        return [self.example(number)]

    def example(self, number: int | None = None) -> Example:
        """Draw a brain (the given subject, or any)."""
        g, c = self.generator, self.generator.config
        number = g.draw() if number is None else number % len(g.cases)
        turn = stretch(c.scaling, c.anisotropy) @ small_rotation(c.rotation)
        shift = torch.randn(3).clamp(-2, 2) * c.shift / 2
        image, structure, _, _ = g.render(number, turn, shift, self.spacing, self.shape, True)
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image)
        return Example(torch.cat([image[None], grid])[None], None, {"structure": structure[None]})


def any_rotation() -> Tensor:
    """A rotation drawn evenly from all (Shoemake 1992)."""
    q = torch.randn(4)
    w, x, y, z = (q / q.norm()).tolist()
    return torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def small_rotation(degrees: float) -> Tensor:
    """A rotation about a random axis."""
    skew = torch.zeros(3, 3)
    a, b, c = ((torch.rand(3) * 2 - 1) * math.radians(degrees)).tolist()
    skew[0, 1], skew[0, 2], skew[1, 2] = -c, b, -a
    return torch.linalg.matrix_exp(skew - skew.T)


def stretch(scaling: float, anisotropy: float) -> Tensor:
    """A diagonal matrix: one factor for all axes, and a little for each."""
    overall = 1 + uniform(-scaling, scaling)
    return torch.diag(overall * (1 + (torch.rand(3) * 2 - 1) * anisotropy))
