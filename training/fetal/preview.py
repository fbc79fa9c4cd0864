"""A picture of what a fetal recipe's generator makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..synthesis.preview import coloured, grid, side_by_side
from .examples import AnyPosition, Upright


def write_preview(source: AnyPosition | Upright, out: Path, *, count: int = 12, seed: int = 0) -> Path:
    """Write a grid of samples as PNG: each in three planes, the structures beside.

    Parameters
    ----------
    source : AnyPosition or Upright
        The examples of a recipe's stage.
    out : Path
        File to write.
    count : int
        Samples.
    seed : int
        Random seed.
    """
    torch.manual_seed(seed)
    generator = source.generator

    def one() -> tuple[np.ndarray, str]:
        number = generator.draw()
        example = source.example(number)
        image = example.x[0, 0].cpu().numpy()
        structure = example.targets["structure"][0].cpu().numpy()
        about = f"{generator.names[number]}, {generator.cases[number].weeks:g} weeks"
        return side_by_side(image, coloured(structure[:, structure.shape[1] // 2].T)), about

    return grid(one, out, count)
