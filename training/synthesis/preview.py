"""A figure of samples of the generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from ...models.io import atomic
from .generator import Draw, HeadGenerator, Rendered

COLORS = 24
"""Number of colors for labels; a label has the color of its intensity class."""


def write_preview(
    generator: HeadGenerator,
    out: Path,
    *,
    count: int = 12,
    shape: tuple[int, int, int] = (192, 224, 192),
    spacing: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write a grid of samples as PNG: three planes of each image and one of its labels.

    Parameters
    ----------
    generator : HeadGenerator
        Generator of the samples.
    out : Path
        File to write.
    count : int
        Number of samples.
    shape, spacing : tuple of int, float
        Grid of the samples.
    seed : int
        Random seed.
    """
    torch.manual_seed(seed)

    def one() -> tuple[np.ndarray, str]:
        draw = generator.draw()
        rendered = generator.render(draw, (0.0, 0.0, -6.0 * spacing), shape, spacing)
        return _panel(rendered, generator), _words(draw, generator, spacing)

    return grid(one, out, count)


def grid(one: Callable[[], tuple[np.ndarray, str]], out: Path, count: int) -> Path:
    """Write a figure of panels.

    Parameters
    ----------
    one : callable
        Returns the next panel, shape (Y, X, 3), and its title.
    out : Path
        File to write (PNG).
    count : int
        Number of panels.
    """
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(6.4 * columns, 2.0 * rows), facecolor="black")
    axes = figure.subplots(rows, columns)
    for number, axis in enumerate(np.atleast_1d(axes).ravel()):
        axis.set_axis_off()
        if number >= count:
            continue
        panel, title = one()
        axis.imshow(panel, origin="lower", interpolation="nearest")
        axis.set_title(title, color="white", fontsize=7, pad=2)
    figure.subplots_adjust(0.003, 0.003, 0.997, 0.975, 0.01, 0.12)
    with atomic.replacing(out) as temporary:
        figure.savefig(temporary, dpi=100, facecolor="black", format="png")
    return out


def side_by_side(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return three planes of an image and one of its colored labels, shape (Y, X, 3)."""
    middle = [n // 2 for n in image.shape]
    planes = [image[:, :, middle[2]], image[:, middle[1]], image[middle[0]]]
    panels = [np.repeat(plane.T[..., None], 3, 2) for plane in planes] + [labels]
    tall = max(plane.shape[0] for plane in panels)
    return np.concatenate([np.pad(p, ((0, tall - p.shape[0]), (0, 4), (0, 0))) for p in panels], 1)


def colored(shown: np.ndarray) -> np.ndarray:
    """Return the colors of a plane of classes, shape (Y, X, 3)."""
    palette = colormaps["tab20b"](np.arange(COLORS) / COLORS)[:, :3]
    palette[0] = 0
    return palette[np.where(shown > 0, 1 + shown % (COLORS - 1), 0)]


def _words(draw: Draw, generator: HeadGenerator, spacing: float) -> str:
    about = draw.acquisition
    stripped = about.strip_at is not None
    words = [f"map {draw.number}", "mirrored" if draw.mirrored else ""]
    words += [
        "stripped" if stripped else "",
        "" if about.cut is None else "cut" if stripped else "defaced",
    ]
    words += ["cropped" if about.field else "", "ghosts" if about.ghost else ""]
    words += ["lesions" if draw.labels is not generator.maps[draw.number] else ""]
    words += ["split" if draw.contrast.split is not None else "", "seeds" if draw.contrast.seeded else ""]
    if max(about.slices) > spacing:
        words.append("x".join(f"{s:.1f}" for s in about.slices) + " mm")
    return ", ".join(w for w in words if w)


def _panel(rendered: Rendered, generator: HeadGenerator) -> np.ndarray:
    """Return three planes of the image and one of the labels, shape (Y, X, 3)."""
    classes = generator.source.contrast[rendered.labels.cpu().numpy()]
    return side_by_side(rendered.image.cpu().numpy(), colored(classes[:, classes.shape[1] // 2].T))
