"""The canvas of one participant-session: its images on one grid, the common frames, and saving figures."""

from __future__ import annotations

import base64
import json
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ...models.io import outputs
from ...models.io.atomic import write_bytes, write_text
from . import mosaic, scans
from .derivatives import PREPROC, Result
from .mosaic import Mosaic
from .scans import Scan

MASK, DSEG, ASEG = map(outputs.ending, ("mask", "dseg", "structures"))
PACK = "desc-figures.js"
"""End of the name of the script with the figures of a participant-session."""

FILL, LINE = 105, 255
"""Opacity (0 to 255) of filled labels and of outlines."""


class Canvas:
    """Images and frames that the sections of a page draw with; images are read when first needed.

    Parameters
    ----------
    result : Result
        The participant-session; it has a preprocessed image, or its source image is readable.
    """

    def __init__(self, result: Result) -> None:
        self.result = result
        self.packed: dict[str, bytes] = {}
        self.table = result.table
        self.position = np.zeros(max(self.table.by_index) + 1, np.uint8)
        for place, label in enumerate(self.table):
            self.position[label.index] = place
        self.colors = {place: mosaic.color_of(label.color) for place, label in enumerate(self.table)}

    def has(self, ending: str) -> bool:
        """Return whether the derivative with this ending exists."""
        return self.result.file(ending) is not None

    def read(self, ending: str, dtype: type | None = None) -> Scan:
        """Read the derivative with this ending.

        Parameters
        ----------
        ending : str
            End of the file name (a pattern), such as ``dseg.nii.gz``.
        dtype : type, optional
            Type of the values; by default that of the file.

        Returns
        -------
        Scan
            Data and affine in closest canonical (RAS) orientation.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        path = self.result.file(ending)
        if path is None:
            raise FileNotFoundError(ending)
        return scans.read(path, dtype)

    def on_grid(self, scan: Scan) -> bool:
        """Return whether a volume has the grid of the preprocessed image."""
        return scan.data.shape == self.image.data.shape and np.allclose(
            scan.affine, self.image.affine, atol=1e-2
        )

    def like(self, scan: Scan) -> np.ndarray:
        """Return the data of a volume on the grid of the preprocessed image.

        Raises
        ------
        ValueError
            If the volume has another grid.
        """
        if not self.on_grid(scan):
            raise ValueError(
                "its grid differs from that of the preprocessed image; run the participant again"
            )
        return scan.data

    def save(self, figure: Image.Image, ending: str) -> str:
        """Put a figure into the pack of the participant-session and return its name.

        Parameters
        ----------
        figure : Image
            The figure.
        ending : str
            End of the name; its extension (``.png`` or ``.webp``) tells the format.
        """
        name = f"{self.result.key}_{ending}"
        self.packed[name] = mosaic.encoded(figure, Path(ending).suffix)
        return name

    def keep(self, figure: Image.Image, ending: str) -> str:
        """Write a figure, which several pages show, to a file of its own and return the file name.

        Parameters
        ----------
        figure : Image
            The figure.
        ending : str
            End of the file name, as for :meth:`save`.
        """
        path = self.result.figures / f"{self.result.key}_{ending}"
        return write_bytes(path, mosaic.encoded(figure, path.suffix)).name

    def write_pack(self) -> str:
        """Write the figures as a script, one file for all, and return its name; empty without figures."""
        if not self.packed:
            return ""
        texts = {
            name: f"data:image/{name.rpartition('.')[2]};base64,{base64.b64encode(content).decode()}"
            for name, content in self.packed.items()
        }
        path = self.result.figures / f"{self.result.key}_{PACK}"
        return write_text(path, f"window.brainsegFigures({json.dumps(texts, indent=0)});\n").name

    def overlays(self, data: np.ndarray, colors: dict[int, mosaic.Color], name: str) -> dict[str, str]:
        """Save labels as fill and outlines over the brain.

        Parameters
        ----------
        data : ndarray, shape (X, Y, Z)
            Labels (0 to 255) on the grid of the preprocessed image.
        colors : dict of int to tuple
            Red, green and blue (0 to 255) by label.
        name : str
            Beginning of the ``desc-`` entity.

        Returns
        -------
        dict of str to str
            Names of ``base``, ``fill`` and ``lines``.
        """
        drawn = self.brain.labels(data)
        return {
            "base": self.brain_base,
            "fill": self.save(mosaic.layer(drawn, colors, FILL), f"desc-{name}fill_dseg.png"),
            "lines": self.save(
                mosaic.layer(mosaic.edges(drawn, 1), mosaic.line_colors(colors), LINE),
                f"desc-{name}lines_dseg.png",
            ),
        }

    @property
    def image_path(self) -> Path:
        """The preprocessed image; the source image if preprocessing stopped earlier."""
        path = self.result.file(PREPROC) or self.result.source
        if path is None:
            raise FileNotFoundError("desc-preproc")
        return path

    @cached_property
    def image(self) -> Scan:
        """Data and affine of ``image_path``."""
        return scans.read(self.image_path, np.float32)

    @cached_property
    def mask(self) -> np.ndarray:
        """The brain mask, shape (X, Y, Z); empty if there is none."""
        if not self.has(MASK):
            return np.zeros(self.image.data.shape, np.uint8)
        return self.like(self.read(MASK, np.uint8))

    @cached_property
    def structures(self) -> np.ndarray:
        """Structures as positions in the label table, shape (X, Y, Z); unknown labels are background."""
        data = self.like(self.read(ASEG, np.int16))
        known = (data >= 0) & (data < len(self.position))
        return self.position[np.where(known, data, 0)]

    @cached_property
    def dseg(self) -> np.ndarray:
        """Tissues (1 gray matter, 2 white matter, 3 CSF), shape (X, Y, Z)."""
        return self.like(self.read(DSEG, np.uint8))

    @cached_property
    def brain_box(self) -> scans.Box:
        """Box around the brain mask; around the head if the mask is empty."""
        mask = self.mask > 0 if self.mask.any() else scans.foreground(self.image.data)
        return scans.box_around(mask, self.image.spacing, 0, share=0.04)

    @cached_property
    def brain_view(self) -> scans.Box:
        """Box around the brain with a margin of 6 mm."""
        return scans.widen(self.brain_box, self.image, 6)

    @cached_property
    def levels(self) -> tuple[float, float]:
        """Black and white point of the preprocessed image."""
        return scans.window(self.image.data, self.mask)

    @cached_property
    def brain(self) -> Mosaic:
        """Frame of the figures of the brain."""
        return Mosaic(self.image.affine, self.brain_view, self.brain_box, mosaic.ROWS)

    @cached_property
    def brain_base(self) -> str:
        """Name of the brain in gray, the base of several overlays."""
        return self.save(
            self.brain.gray(self.image.data, self.levels), f"desc-brain_{self.result.suffix}.webp"
        )
