"""Training examples of fetal brains, in any position or upright."""

from __future__ import annotations

import torch

from ...models.networks.inference import COORDINATE_SCALE
from ..core.example import Example
from ..synthesis.deformation import uniform
from ..synthesis.rotation import any_rotation, random_scaling, small_rotation
from .generator import FetalGenerator


class AnyPosition:
    """Examples of whole brains at a coarse voxel size in any position: surface and tissues.

    Parameters
    ----------
    generator : FetalGenerator
        Generator of the brains.
    shape, spacing : tuple of int, float
        Grid: number of voxels and voxel size (mm).
    """

    def __init__(self, generator: FetalGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example of subject ``number``, or of a random subject."""
        return [self.example(number)]

    def example(self, number: int | None = None) -> Example:
        """Return an example of subject ``number``, or of a random subject."""
        g, c = self.generator, self.generator.config
        number = g.draw() if number is None else number % len(g.cases)
        free = uniform(0, 1) < c.any_position
        turn = any_rotation() if free else small_rotation(c.rotation * 2)
        turn = random_scaling(c.scaling * 1.5, c.anisotropy) @ turn
        shift = torch.randn(3).clamp(-2, 2) * (c.shift * (2.5 if free else 1.0))
        image, structure, distance, _ = g.render(number, turn, shift, self.spacing, self.shape, False)
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image)
        targets = {"structure": structure[None], "distance": distance[None]}
        return Example(torch.cat([image[None], grid])[None], None, targets)


class Upright:
    """Examples of brains in the atlas frame, nearly upright as after the coarse network.

    Parameters
    ----------
    generator : FetalGenerator
        Generator of the brains.
    shape, spacing : tuple of int, float
        Grid: number of voxels and voxel size (mm of the atlas frame).
    """

    def __init__(self, generator: FetalGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example of subject ``number``, or of a random subject."""
        return [self.example(number)]

    def example(self, number: int | None = None) -> Example:
        """Return an example of subject ``number``, or of a random subject."""
        g, c = self.generator, self.generator.config
        number = g.draw() if number is None else number % len(g.cases)
        turn = random_scaling(c.scaling, c.anisotropy) @ small_rotation(c.rotation)
        shift = torch.randn(3).clamp(-2, 2) * c.shift / 2
        image, structure, _, _ = g.render(number, turn, shift, self.spacing, self.shape, True)
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image)
        return Example(torch.cat([image[None], grid])[None], None, {"structure": structure[None]})
