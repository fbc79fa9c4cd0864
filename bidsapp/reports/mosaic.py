"""Figures of volumes: slices in three planes as mosaics, and labels and contours as layers over them.

Slices are scaled by their voxel sizes, so a millimeter has the same length in every direction. The right of a
slice is the participant's right.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from .scans import Box

BESIDE_MIDLINE = 0.06
"""Distance of a single sagittal slice from the midline, relative to the width of the brain: in the fissure, a
correct segmentation looks as if the cortex were missing."""

PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""For each plane the axes across, up and through it."""

LETTERS = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("P", "A")}
"""For each plane the names of its left and right edge."""

Color = tuple[int, int, int]
WHITE_LINE: Color = (48, 200, 255)
"""Color of the outlines of labels that are as good as white."""

LIGHT = 215
"""Red, green and blue of a color that is as good as white are above this value."""

ROWS = [[("axial", 7)], [("coronal", 7)], [("sagittal", 6)]]
"""Slices of a mosaic."""


@dataclass(frozen=True)
class Panel:
    """One slice of a mosaic: plane and index, and its rectangle in the figure (pixels)."""

    plane: str
    index: int
    left: int
    top: int
    width: int
    height: int


class Mosaic:
    """Slices in three planes in one figure; the frame fits every volume on the grid.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS) of the grid.
    view : Box
        Field of view.
    span : Box
        Box that the slices are spread over, usually that of the brain.
    rows : list of list of (str, int)
        For each row of the figure, planes and number of slices.
    width : int
        Width of the figure (pixels).
    """

    def __init__(
        self, affine: np.ndarray, view: Box, span: Box, rows: list[list[tuple[str, int]]], width: int = 1680
    ) -> None:
        self.affine, self.view, self.width = affine, view, width
        self.spacing = np.linalg.norm(affine[:3, :3], axis=0)
        extent = [(high - low) * size for (low, high), size in zip(view, self.spacing, strict=True)]
        gap = 6
        self.scale = min(
            (width - gap * (1 + sum(n for _, n in row))) / sum(n * extent[PLANES[p][0]] for p, n in row)
            for row in rows
        )
        self.panels: list[Panel] = []
        top = gap
        for row in rows:
            sizes = [
                (plane, index, *(max(1, round(extent[a] * self.scale)) for a in PLANES[plane][:2]))
                for plane, n in row
                for index in self._spread(span[PLANES[plane][2]], n, plane)
            ]
            spare = (width - sum(size[2] for size in sizes)) / (len(sizes) + 1)
            left, tall = spare, max(size[3] for size in sizes)
            for plane, index, w, h in sizes:
                self.panels.append(Panel(plane, index, round(left), top + (tall - h) // 2, w, h))
                left += w + spare
            top += tall + gap
        self.height = top

    @staticmethod
    def _spread(ends: tuple[int, int], count: int, plane: str) -> list[int]:
        low, high = ends[0], ends[1] - 1
        if plane == "sagittal" and count == 1:
            return [round((low + high) / 2 + BESIDE_MIDLINE * (high - low))]
        # Not to the ends, which show little.
        where = (
            np.linspace(low, high, count + 2)[1:-1]
            if count < 4
            else np.linspace(0.10, 0.90, count) * (high - low) + low
        )
        return [round(float(x)) for x in where]

    def cut(self, data: np.ndarray, panel: Panel) -> np.ndarray:
        """Return the slice of a panel, shape (H, W) in voxels, its first row on top."""
        index: list[slice | int] = [slice(*ends) for ends in self.view]
        index[PLANES[panel.plane][2]] = panel.index
        plane = data[tuple(index)]
        return np.ascontiguousarray(plane.T[::-1])

    def gray(self, data: np.ndarray, levels: tuple[float, float], letters: bool = True) -> Image.Image:
        """Return the image in shades of gray.

        Parameters
        ----------
        data : ndarray, shape (X, Y, Z)
            The image.
        levels : tuple of float
            Black and white point.
        letters : bool
            Whether to write the sides and the position (mm) of each slice.
        """
        out = Image.new("L", (self.width, self.height))
        low, high = levels
        for panel in self.panels:
            plane = np.clip((self.cut(data, panel).astype(np.float32) - low) * (255 / (high - low)), 0, 255)
            plane = np.nan_to_num(plane).astype(np.uint8)
            out.paste(
                Image.fromarray(plane).resize((panel.width, panel.height), Image.Resampling.BICUBIC),
                (panel.left, panel.top),
            )
        if letters:
            self._write(ImageDraw.Draw(out))
        return out

    def color(
        self, data: np.ndarray, levels: tuple[float, float], mask: np.ndarray, colormap: str
    ) -> Image.Image:
        """Return a smooth field in colors, black outside a mask.

        Parameters
        ----------
        data : ndarray, shape (X, Y, Z)
            The field.
        levels : tuple of float
            Values of the first and the last color.
        mask : ndarray, shape (X, Y, Z)
            The mask.
        colormap : str
            Name of a colormap of matplotlib.
        """
        table = (np.asarray(colormaps[colormap](np.arange(256)))[:, :3] * 255).astype(np.uint8)
        shades = np.asarray(self.gray(data, levels, letters=False))
        out = table[shades]
        out[self.labels((mask > 0).astype(np.uint8)) == 0] = 0
        return Image.fromarray(out)

    def labels(self, data: np.ndarray) -> np.ndarray:
        """Return labels at the figure's resolution with smooth outlines.

        Parameters
        ----------
        data : ndarray, shape (X, Y, Z)
            Labels (0 to 255).

        Returns
        -------
        ndarray, shape (H, W)
            Labels of the pixels.
        """
        out = np.zeros((self.height, self.width), np.uint8)
        for panel in self.panels:
            plane, size = self.cut(data, panel), (panel.width, panel.height)
            best, name = None, np.zeros(size[::-1], np.uint8)
            for label in np.unique(plane):
                share = np.asarray(
                    Image.fromarray((plane == label).astype(np.float32)).resize(
                        size, Image.Resampling.BILINEAR
                    )
                )
                if best is None:
                    best, name = share.copy(), np.full(size[::-1], label, np.uint8)
                    continue
                more = share > best
                name[more], best[more] = label, share[more]
            out[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width] = name
        return out

    def _write(self, draw: ImageDraw.ImageDraw) -> None:
        font, small = ImageFont.load_default(22), ImageFont.load_default(17)
        dark: dict[str, Any] = {"stroke_width": 2, "stroke_fill": 0}
        named: set[str] = set()
        for panel in self.panels:
            through = PLANES[panel.plane][2]
            voxel = np.array([sum(ends) / 2 for ends in self.view])
            voxel[through] = panel.index
            position = (self.affine[:3, :3] @ voxel + self.affine[:3, 3])[through]
            left, right = LETTERS[panel.plane]
            top, bottom, end = panel.top + 3, panel.top + panel.height - 3, panel.left + panel.width - 3
            draw.text((panel.left + 3, top), left, 255, font, "lt", **dark)
            draw.text((end, top), right, 255, font, "rt", **dark)
            draw.text((end, bottom), f"{'xyz'[through]} {round(position)}", 190, small, "rb", **dark)
            if panel.plane not in named:
                draw.text((panel.left + 3, bottom), panel.plane, 255, small, "lb", **dark)
                named.add(panel.plane)


def edges(labels: np.ndarray, thickness: int = 2) -> np.ndarray:
    """Return labels next to another label, zero elsewhere; each label keeps its own side of the line."""
    inside = np.ones(labels.shape, bool)
    for step in range(1, max(1, thickness) + 1):
        for axis in (0, 1):
            for shift in (-step, step):
                inside &= np.roll(labels, shift, axis) == labels
    return np.where(inside, 0, labels)


def layer(labels: np.ndarray, colors: dict[int, Color], alpha: int) -> Image.Image:
    """Return labels as a transparent image with a palette, which is small as PNG.

    Parameters
    ----------
    labels : ndarray, shape (H, W)
        Labels (0 to 255); 0 is transparent.
    colors : dict of int to tuple
        Red, green and blue (0 to 255) by label.
    alpha : int
        Opacity (0 to 255).
    """
    palette, clear = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    for label, color in colors.items():
        if label:
            palette[label], clear[label] = color, alpha
    out = Image.fromarray(labels.astype(np.uint8)).convert("L")
    out = Image.frombytes("P", out.size, out.tobytes())
    out.putpalette(palette.tobytes())
    out.info["transparency"] = clear.tobytes()
    return out


def line_colors(colors: dict[int, Color]) -> dict[int, Color]:
    """Return the colors of outlines: those of the labels, but for white ones, invisible on a T1w image.

    Examples
    --------
    >>> line_colors({1: (205, 62, 78), 2: (245, 245, 245)})
    {1: (205, 62, 78), 2: (48, 200, 255)}
    """
    return {label: WHITE_LINE if min(color) > LIGHT else color for label, color in colors.items()}


def over(base: Image.Image, layers: list[Image.Image]) -> Image.Image:
    """Return a gray figure with layers, flattened."""
    out = base.convert("RGBA")
    for each in layers:
        out.alpha_composite(each.convert("RGBA"))
    return out.convert("RGB")


def encoded(figure: Image.Image, extension: str) -> bytes:
    """Return a figure as the content of a PNG or WebP file, by the extension (``.png`` or ``.webp``)."""
    options = {"compress_level": 6} if extension == ".png" else {"quality": 80, "method": 1}
    out = io.BytesIO()
    figure.save(out, "PNG" if extension == ".png" else "WEBP", **options)
    return out.getvalue()


def color_of(text: str) -> Color:
    """Return red, green and blue (0 to 255) of ``#rrggbb``.

    Examples
    --------
    >>> color_of("#ff8000")
    (255, 128, 0)
    """
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
