"""Figures of single-file commands: outlines of labels over slices, and a bar chart of Dice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from scipy import ndimage

from ...models.io import atomic

TRUE, FOUND = (40, 200, 70), (235, 50, 50)
"""Colors of the outlines of the given mask and of the segmentation."""

MOST, COLUMNS = 12, 4
"""Slices of a figure, and in one row."""

SIDE = 256
"""Width of a slice (pixels)."""


def overlay(
    image: np.ndarray, found: np.ndarray, truth: np.ndarray | None, spacing: np.ndarray
) -> Image.Image:
    """Return axial slices with the outlines of labels that were found in red, and of given ones in green.

    Parameters
    ----------
    image, found : ndarray, shape (X, Y, Z)
        Intensities and labels, in canonical (RAS) orientation.
    truth : ndarray, shape (X, Y, Z), optional
        Given labels.
    spacing : ndarray, shape (3,)
        Voxel size (mm).
    """
    drawn = [(found, FOUND)] if truth is None else [(truth, TRUE), (found, FOUND)]
    both = (found > 0) | (truth > 0 if truth is not None else False)
    area = both.sum((0, 1))
    shown = np.flatnonzero(area) if area.any() else np.arange(image.shape[2] // 4, 3 * image.shape[2] // 4)
    if len(shown) > MOST:
        shown = shown[np.linspace(0, len(shown) - 1, MOST).round().astype(int)]
    values = image[image > 0] if (image > 0).any() else image
    low, high = np.percentile(values, [1, 99.5])
    height = max(1, round(SIDE * image.shape[1] * spacing[1] / (image.shape[0] * spacing[0])))
    rows = -(-len(shown) // COLUMNS)
    out = Image.new("RGB", (SIDE * min(COLUMNS, len(shown)), height * rows))
    for place, at in enumerate(shown.tolist()):
        gray = np.clip((image[..., at] - low) / max(high - low, 1e-6), 0, 1) * 255
        plane = _drawn(gray, (SIDE, height)).convert("RGB")
        pixels = np.array(plane)
        for labels, color in drawn:
            here = labels[..., at]
            for label in np.unique(here[here > 0]):
                pixels[_outline(here == label, (SIDE, height))] = color
        plane = Image.fromarray(pixels)
        ImageDraw.Draw(plane).text((4, 4), f"{at + 1}", (255, 255, 255))
        out.paste(plane, (place % COLUMNS * SIDE, place // COLUMNS * height))
    return out


def chart(scores: Mapping[str, float], out: Path) -> Path:
    """Draw Dice by patient as bars, and the mean as a line; return the file."""
    names = sorted(scores, key=lambda name: scores[name])
    figure = Figure(figsize=(7.0, 1.4 + 0.26 * len(names)))
    axis = figure.subplots()
    axis.barh(names, [scores[name] for name in names], color="#2b6cb0")
    mean, median = float(np.mean(list(scores.values()))), float(np.median(list(scores.values())))
    axis.axvline(mean, color="#c53030", linewidth=1.2, label=f"mean {mean:.3f}")
    axis.axvline(median, color="#2f855a", linewidth=1.2, linestyle="--", label=f"median {median:.3f}")
    axis.set_xlim(0, 1)
    axis.set_xlabel("Dice")
    axis.tick_params(labelsize=7)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    figure.tight_layout()
    with atomic.replacing(out, keep_extension=True) as temporary:
        figure.savefig(temporary, dpi=130)
    return out


def _drawn(plane: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a slice with its front on top, and the participant's right on the right."""
    turned = np.ascontiguousarray(plane.T[::-1]).astype(np.uint8)
    return Image.fromarray(turned).resize(size, Image.Resampling.BICUBIC)


def _outline(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    share = Image.fromarray(np.ascontiguousarray(mask.T[::-1]).astype(np.float32))
    inside = np.asarray(share.resize(size, Image.Resampling.BILINEAR)) > 0.5
    return inside & ~ndimage.binary_erosion(inside)
