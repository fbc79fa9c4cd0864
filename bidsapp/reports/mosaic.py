"""Pictures of volumes: slices in three planes as mosaics, and labels and contours as layers over them.

Volumes are turned to run to the right, front and top without interpolation; slices are then scaled by
their voxel sizes, so a millimetre is as long in every direction. The right of a picture is the right of
the participant.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import affine_transform

from ...models.io import atomic

PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""For each plane the axes that run across, up and through."""
LETTERS = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("P", "A")}
"""For each plane what its left and its right edge are."""

Color = tuple[int, int, int]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
ROWS = [[("axial", 7)], [("coronal", 7)], [("sagittal", 6)]]
"""Slices of a mosaic."""


@dataclass(frozen=True)
class Scan:
    """A volume whose axes run (nearly) to the right, front and top.

    Attributes
    ----------
    data : ndarray, shape (X, Y, Z)
        Values.
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS).
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (mm) along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel (mm3)."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    def crop(self, box: Box) -> Scan:
        """The part within a box."""
        affine = self.affine.copy()
        affine[:3, 3] = affine[:3, :3] @ [low for low, _ in box] + affine[:3, 3]
        return Scan(self.data[tuple(slice(*ends) for ends in box)], affine)

    def onto(self, shape: tuple[int, ...], affine: np.ndarray, order: int = 1) -> Scan:
        """The volume interpolated on another grid."""
        if self.data.shape == tuple(shape) and np.allclose(self.affine, affine, atol=1e-3):
            return self
        matrix = np.linalg.inv(self.affine) @ affine
        data = self.data.astype(np.float32) if order else self.data
        linear = matrix[:3, :3]
        if np.allclose(linear, np.diag(np.diag(linear)), atol=1e-5):
            linear = np.diag(linear)  # faster
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what a diagonal meant many releases ago
            out = affine_transform(data, linear, matrix[:3, 3], tuple(shape), order=order)
        return Scan(out, affine)


def read(path: Path, dtype: type | None = None) -> Scan:
    """Read an image and turn it so that its axes run to the right, front and top."""
    image = nib.squeeze_image(nib.load(path))
    image = nib.as_closest_canonical(image)
    data = np.asanyarray(image.dataobj)
    return Scan(
        data.astype(dtype or (np.float32 if data.dtype.kind == "f" else data.dtype), copy=False), image.affine
    )


def box_around(mask: np.ndarray, spacing: np.ndarray, margin: float, share: float = 0.0) -> Box:
    """Box around a mask with a margin in mm.

    Planes that hold at most ``share`` of what the fullest plane holds are left out: specks, the spinal cord.
    """
    ends = []
    for axis, size in enumerate(spacing):
        line = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
        inside = (
            np.flatnonzero(line > share * line.max()) if line.any() else np.array([0, mask.shape[axis] - 1])
        )
        pad = round(margin / size)
        ends.append((max(0, int(inside[0]) - pad), min(mask.shape[axis], int(inside[-1]) + pad + 1)))
    return tuple(ends)  # type: ignore[return-value]


def foreground(data: np.ndarray) -> np.ndarray:
    """Head (or brain) against air, roughly."""
    sample = data[::2, ::2, ::2]
    bright = np.percentile(sample[sample > 0], 98) if (sample > 0).any() else 1.0
    return data > 0.12 * bright


def window(data: np.ndarray, mask: np.ndarray | None = None, headroom: float = 1.05) -> tuple[float, float]:
    """Black and white point for a picture, from the values within a mask."""
    values = data[mask > 0] if mask is not None and (mask > 0).any() else data[data > 0]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values[:: max(1, values.size // 200_000)], (0.5, 99.7))
    return float(min(low, 0.0)), float(max(high * headroom, low + 1e-6))


@dataclass(frozen=True)
class Panel:
    """One slice in a mosaic: what is cut, and where it lies in the picture."""

    plane: str
    index: int
    left: int
    top: int
    width: int
    height: int


class Mosaic:
    """Slices in three planes on one picture; every volume on the grid can be laid into the same frame.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Of the grid that the slices are cut from.
    view : Box
        Field of view.
    span : Box
        Slices are spread over it (usually the brain's box).
    rows : list of list of (str, int)
        For each row of the picture, planes and how many slices of each.
    width : int
        Of the picture in pixels.
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
                for index in self._spread(span[PLANES[plane][2]], n)
            ]
            spare = (width - sum(size[2] for size in sizes)) / (len(sizes) + 1)
            left, tall = spare, max(size[3] for size in sizes)
            for plane, index, w, h in sizes:
                self.panels.append(Panel(plane, index, round(left), top + (tall - h) // 2, w, h))
                left += w + spare
            top += tall + gap
        self.height = top

    @staticmethod
    def _spread(ends: tuple[int, int], count: int) -> list[int]:
        low, high = ends[0], ends[1] - 1
        # Not to the very ends, where there is little to see.
        where = (
            np.linspace(low, high, count + 2)[1:-1]
            if count < 4
            else np.linspace(0.10, 0.90, count) * (high - low) + low
        )
        return [round(float(x)) for x in where]

    def cut(self, data: np.ndarray, panel: Panel) -> np.ndarray:
        """The panel's slice, its first row on top."""
        across, up, through = PLANES[panel.plane]
        index = [slice(None)] * 3
        index[through] = panel.index
        index[across], index[up] = slice(*self.view[across]), slice(*self.view[up])
        plane = data[tuple(index)]
        return np.ascontiguousarray(plane.T[::-1])

    def gray(self, data: np.ndarray, levels: tuple[float, float], letters: bool = True) -> Image.Image:
        """The image itself in shades of gray, with the sides named and the position of each slice in mm."""
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
        """A smooth field in colours, black outside a mask."""
        table = (np.asarray(colormaps[colormap](np.arange(256)))[:, :3] * 255).astype(np.uint8)
        shades = np.asarray(self.gray(data, levels, letters=False))
        out = table[shades]
        out[self.labels((mask > 0).astype(np.uint8)) == 0] = 0
        return Image.fromarray(out)

    def labels(self, data: np.ndarray) -> np.ndarray:
        """Labels (0 to 255) at the picture's resolution, their outlines smooth; shape (H, W)."""
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
        dark = {"stroke_width": 2, "stroke_fill": 0}
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
            draw.text((end, bottom), f"{'xyz'[through]} {position:.0f}", 190, small, "rb", **dark)
            if panel.plane not in named:
                draw.text((panel.left + 3, bottom), panel.plane, 255, small, "lb", **dark)
                named.add(panel.plane)


def edges(labels: np.ndarray, thickness: int = 2) -> np.ndarray:
    """Labels where they border on another label, zero elsewhere; each keeps its own side of the line."""
    inside = np.ones(labels.shape, bool)
    for step in range(1, max(1, thickness) + 1):
        for axis in (0, 1):
            for shift in (-step, step):
                inside &= np.roll(labels, shift, axis) == labels
    return np.where(inside, 0, labels)


def layer(labels: np.ndarray, colors: dict[int, Color], alpha: int) -> Image.Image:
    """Labels as a transparent picture with a palette (small as PNG)."""
    palette, clear = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    for label, color in colors.items():
        if label:
            palette[label], clear[label] = color, alpha
    out = Image.fromarray(labels.astype(np.uint8)).convert("L")
    out = Image.frombytes("P", out.size, out.tobytes())
    out.putpalette(palette.tobytes())
    out.info["transparency"] = clear.tobytes()
    return out


def over(base: Image.Image, layers: list[Image.Image]) -> Image.Image:
    """A gray picture with layers, flattened."""
    out = base.convert("RGBA")
    for each in layers:
        out.alpha_composite(each.convert("RGBA"))
    return out.convert("RGB")


def save(picture: Image.Image, path: Path) -> Path:
    """Write a figure as PNG or WebP, by the extension of its name."""
    options = {"compress_level": 6} if path.suffix == ".png" else {"quality": 80, "method": 2}
    with atomic.replacing(path) as temporary:
        picture.save(temporary, "PNG" if path.suffix == ".png" else "WEBP", **options)
    return path


def color_of(text: str) -> Color:
    """``#rrggbb`` as three numbers.

    Examples
    --------
    >>> color_of("#ff8000")
    (255, 128, 0)
    """
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def widen(box: Box, scan: Scan, margin: float) -> Box:
    """A box grown by ``margin`` (mm) within the image."""
    pads = [round(margin / size) for size in scan.spacing]
    ends = zip(box, pads, scan.data.shape, strict=True)
    return tuple((max(0, a - pad), min(n, b + pad)) for (a, b), pad, n in ends)  # type: ignore[return-value]
