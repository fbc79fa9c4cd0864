"""A figure of samples of a fetal generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..synthesis.preview import colored, grid, side_by_side
from .examples import AnyPosition, Upright


def write_preview(source: AnyPosition | Upright, out: Path, *, count: int = 12, seed: int = 0) -> Path:
    """Write a grid of samples as PNG: three planes of each image and one of its structures.

    Parameters
    ----------
    source : AnyPosition or Upright
        Source of the examples of a stage.
    out : Path
        File to write.
    count : int
        Number of samples.
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
        return side_by_side(image, colored(structure[:, structure.shape[1] // 2].T)), about

    return grid(one, out, count)
