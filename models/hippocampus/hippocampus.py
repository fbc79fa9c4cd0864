"""Parts of the hippocampus, anterior and posterior, in a T1w image.

A network segments the parts in a box around one hippocampus at 1 mm. It serves both sides, as a mirror image
is the other side. In a head, upright boxes are cut out around both segmented hippocampi.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry.cropping import crop_or_pad, strip_padding
from ..geometry.volume import Grid, Volume, lattice, normalize, resample, transform_points
from ..networks import inference, zoo
from ..population import labels
from ..registration import linear
from ..templates import catalog

MODEL = "hippocampus"
SPACING = 1.0
SHAPE = (40, 56, 40)
"""Shape (voxels) of the network's box."""

MIDDLE = (2.3, -1.3, 2.4)
"""From the center of the left hippocampus to the middle of its box (mm), in an upright head."""

STRUCTURES = {"Left": 17, "Right": 53}
"""FreeSurfer ids of the hippocampi."""

TABLE = "hippocampus"
"""Label table of the parts."""

AGREES = 0.5
"""Dice of the parts' union with the segmented hippocampus below which a note is added."""


@dataclass(frozen=True)
class Parts:
    """Parts of one hippocampus.

    Attributes
    ----------
    image : Volume, shape (X, Y, Z)
        Intensities in [0, 1].
    probabilities : Volume, shape (2, X, Y, Z)
        Anterior and posterior part.
    inside : Volume, shape (X, Y, Z)
        1 in the field of view, else 0.
    """

    image: Volume
    probabilities: Volume
    inside: Volume

    @property
    def labels(self) -> Volume:
        """Return the labels: 0 background, 1 anterior, 2 posterior."""
        return self.on(self.image.grid)

    def on(self, grid: Grid) -> Volume:
        """Return the labels on another grid, by interpolating probabilities.

        Parameters
        ----------
        grid : Grid
            Target grid.

        Returns
        -------
        Volume, uint8
            Labels: 0 background, 1 anterior, 2 posterior.
        """
        p = resample(self.probabilities, grid).data
        return Volume(torch.cat([1 - p.sum(0, keepdim=True), p]).argmax(0).to(torch.uint8), grid.affine)


@dataclass(frozen=True)
class HippocampusResult:
    """Parts of both hippocampi of a head.

    Attributes
    ----------
    labels : Volume, uint8
        Indices of the label table ``hippocampus``, on the image's grid.
    volumes : dict of int to float
        Sum of every part's probability (mm3).
    notes : list of str
        Notes on the results.
    """

    labels: Volume
    volumes: dict[int, float]
    notes: list[str] = field(default_factory=list)


def normalized(image: Tensor, inside: Tensor) -> Tensor:
    """Return intensities in [0, 1] by the percentiles of the field of view, 0 outside it.

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Intensities.
    inside : Tensor of bool, shape (X, Y, Z)
        Field of view.

    Returns
    -------
    Tensor of float32, shape (X, Y, Z)
        Normalized intensities.
    """
    out = torch.zeros(image.shape, dtype=torch.float32, device=image.device)
    if bool(inside.any()):
        out[inside] = normalize(image[inside])
    return out


def upright(image: Volume) -> Volume:
    """Return a crop without padding, upright, with voxels of ``SPACING`` and intensities in [0, 1].

    Parameters
    ----------
    image : Volume
        Image around one hippocampus.

    Returns
    -------
    Volume
        The upright crop.
    """
    crop = strip_padding(image.canonical())
    moved = resample(crop, lattice(crop, SPACING))
    return moved.with_data(normalized(moved.data, torch.ones(moved.grid.shape, dtype=torch.bool)))


def find(image: Volume, grid: Grid | None = None, *, model: str = MODEL, device: str = "cpu") -> Parts:
    """Segment the anterior and posterior part of one hippocampus.

    Parameters
    ----------
    image : Volume
        T1w intensities.
    grid : Grid, optional
        Field of view around the hippocampus, with voxels of ``SPACING``; by default the whole image.
    model : str
        Weights.
    device : str
        Device of the network.

    Returns
    -------
    Parts
        Probabilities of the parts, with the normalized image.
    """
    network = zoo.load_once(model, device).network
    if grid is None:
        image = strip_padding(image.canonical())
        grid = lattice(image, SPACING)
    scan = crop_or_pad(resample(image, grid), SHAPE)
    inside = crop_or_pad(resample(image.with_data(torch.ones(image.grid.shape)), grid), SHAPE).data > 0.5
    values = normalized(scan.data, inside)
    empty = values.new_zeros(0, *values.shape)
    passes = [
        inference.run(network, turned, empty, device=device)["structure"].softmax(0)
        for turned in (values, values.flip(0))
    ]
    found = (passes[0] + passes[1].flip(1)) / 2
    return Parts(*(Volume(data, scan.affine) for data in (values, found[1:], inside.float())))


def find_both(
    image: Volume,
    structures: Volume,
    centroids: dict[int, tuple[float, float, float]],
    *,
    model: str = MODEL,
    device: str = "cpu",
) -> HippocampusResult:
    """Segment the parts of both hippocampi of a head.

    Parameters
    ----------
    image : Volume
        T1w intensities, bias-corrected; with or without the skull.
    structures : Volume of integers
        FreeSurfer ids, on the same grid.
    centroids : dict of int to tuple
        Centroid (RAS mm) of every structure.
    model, device : str
        Weights, and device of the network.

    Returns
    -------
    HippocampusResult
        Labels, volumes and notes.
    """
    upright = linear.align(centroids, catalog.centroids(), "rigid").matrix
    table = labels.load(TABLE)
    volumes = {label.index: 0.0 for label in table if label.index}
    maps = torch.zeros(len(table.labels), *image.grid.shape)
    notes = []
    for side, structure in STRUCTURES.items():
        if structure not in centroids:
            notes.append(f"No {side.lower()} hippocampus in the segmentation: its parts are missing.")
            continue
        parts = find(image, _around(centroids[structure], upright, side), model=model, device=device)
        kept = parts.probabilities.data * _largest(parts.labels.data)
        own = [label.index for label in table if label.name.startswith(side)]
        maps[own] = resample(parts.probabilities.with_data(kept), image.grid).data
        volumes |= {index: float(total) for index, total in zip(own, kept.sum((1, 2, 3)), strict=True)}
        agreed = _dice(maps[own].sum(0) > 0.5, structures.data == structure)
        if agreed < AGREES:
            notes.append(
                f"The parts of the {side.lower()} hippocampus do not agree with the segmentation "
                f"(Dice {agreed:.2f}): inspect them."
            )
    maps[0] = 1 - maps[1:].sum(0)
    return HippocampusResult(image.with_data(maps.argmax(0).to(torch.uint8)), volumes, notes)


def _around(center: tuple[float, float, float], upright: np.ndarray, side: str) -> Grid:
    """Return the box around a hippocampus, with the axes of an upright head."""
    shift = np.array(MIDDLE) * ([1, 1, 1] if side == "Left" else [-1, 1, 1])
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    middle = transform_points(upright, np.array(center)) + shift
    affine[:3, 3] = middle - SPACING * (np.array(SHAPE) - 1) / 2
    return Grid(SHAPE, np.linalg.inv(upright) @ affine)


def _largest(found: Tensor) -> Tensor:
    """Return the largest connected piece of the labels, with a margin of two voxels."""
    pieces, count = ndimage.label(found.numpy() > 0)
    if not count:
        return torch.zeros(found.shape, dtype=torch.bool)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    rest = (pieces > 0) & ~largest
    return torch.from_numpy(ndimage.binary_dilation(largest, iterations=2) & ~rest)


def _dice(a: Tensor, b: Tensor) -> float:
    return 2 * int((a & b).sum()) / max(int(a.sum() + b.sum()), 1)
