"""A picture of what the generator makes: the first thing to look at when anything about it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .generator import HeadGenerator, Rendered

COLOURS = 24
"""Colours for labels; a label has the colour of its intensity class."""


def write_preview(
    generator: HeadGenerator,
    out: Path,
    *,
    count: int = 12,
    shape: tuple[int, int, int] = (192, 224, 192),
    spacing: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write a grid of samples as PNG: each in three planes, the labels beside.

    Parameters
    ----------
    generator : HeadGenerator
        What to show.
    out : Path
        File to write.
    count : int
        Samples.
    shape, spacing : tuple of int, float
        Grid of a sample.
    seed : int
        Random seed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    torch.manual_seed(seed)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 2.0 * rows), facecolor="black")
    for number, axis in enumerate(np.atleast_1d(axes).ravel()):
        axis.set_axis_off()
        if number >= count:
            continue
        draw = generator.draw()
        rendered = generator.render(draw, (0.0, 0.0, -6.0 * spacing), shape, spacing)
        axis.imshow(_panel(rendered, generator), origin="lower", interpolation="nearest")
        about = draw.acquisition
        words = [f"map {draw.number}", "mirrored" if draw.mirrored else ""]
        stripped = about.strip_at is not None
        words += [
            "stripped" if stripped else "",
            "" if about.cut is None else "cut" if stripped else "defaced",
        ]
        words += ["cropped" if about.field else "", "ghosts" if about.ghost else ""]
        words += ["lesions" if draw.labels is not generator.maps[draw.number] else ""]
        words += ["split" if draw.contrast.split is not None else "", "seeds" if draw.contrast.seeded else ""]
        if max(about.slices) > spacing:
            words.append("x".join(f"{s:.1f}" for s in about.slices) + " mm")
        axis.set_title(", ".join(w for w in words if w), color="white", fontsize=7, pad=2)
    figure.subplots_adjust(0.003, 0.003, 0.997, 0.975, 0.01, 0.12)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".part-{out.stem}.png")
    figure.savefig(part, dpi=100, facecolor="black")
    plt.close(figure)
    part.replace(out)
    return out


def _panel(rendered: Rendered, generator: HeadGenerator) -> np.ndarray:
    """Three planes of the image and one of the labels, side by side, shape (Y, X, 3)."""
    from matplotlib import colormaps

    image = rendered.image.cpu().numpy()
    classes = generator.source.contrast[rendered.labels.cpu().numpy()]
    middle = [n // 2 for n in image.shape]
    planes = [image[:, :, middle[2]], image[:, middle[1]], image[middle[0]]]
    coloured = [np.repeat(plane.T[..., None], 3, 2) for plane in planes]
    palette = colormaps["tab20b"](np.arange(COLOURS) / COLOURS)[:, :3]
    palette[0] = 0
    shown = classes[:, middle[1]].T
    coloured.append(palette[np.where(shown > 0, 1 + shown % (COLOURS - 1), 0)])
    tall = max(plane.shape[0] for plane in coloured)
    return np.concatenate(
        [np.pad(plane, ((0, tall - plane.shape[0]), (0, 4), (0, 0))) for plane in coloured], 1
    )
