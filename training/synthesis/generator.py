"""Synthetic heads from label maps: random contrasts, resolutions and artifacts.

The method and most ranges are those of SynthSeg (Billot et al. 2023): labels are deformed, every class or
subclass gets a random intensity, followed by bias field, ghosts, blur, low resolution, noise and gamma. A
share of the draws is near a real contrast (class means of the source table), the others are random. The
ranges are in :mod:`brainseg.training.synthesis.config`, the meaning of labels in a source table.

Frames: *world* is in mm of the synthetic image, with the origin at the center of the brain; *atlas* is the
mean head of all maps. A draw defines the transform between them, so that one head can be rendered on several
grids (a whole head at 3 mm, a brain at 1.5 mm) with the same anatomy and contrast.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.arrays import DISTANCE_UNIT, check_kind
from ..data.sources import source_table
from . import atrophy, ventricles
from .acquisition import Acquisition, acquire, draw_acquisition, uncut, visible, with_noisy_background
from .atrophy import Atrophy
from .config import GeneratorConfig
from .contrast import LEVELS, Contrast, draw_contrast
from .deformation import BOX, affine, deformation, integer, linear, uniform
from .lesion_paste import paste

FLUID = 24
"""Value of the fluid outside the brain in label maps."""


@dataclass
class Draw:
    """One synthetic head, independent of a grid.

    Attributes
    ----------
    number : int
        Number of its label map.
    to_atlas : Tensor, shape (3, 3)
        Matrix from world mm to atlas mm, before the deformation; on the CPU.
    mirrored : bool
        Whether left and right are swapped.
    displacement : Tensor, shape (1, 3, G, G, G)
        Deformation (mm) on the atlas cube.
    labels : Tensor of uint8
        Label map, lesions included.
    contrast : Contrast
        Intensities.
    acquisition : Acquisition
        Parameters of the acquisition.
    atrophy : Atrophy or None
        How the brain is smaller than its skull.
    """

    number: int
    to_atlas: Tensor
    mirrored: bool
    displacement: Tensor
    labels: Tensor
    contrast: Contrast
    acquisition: Acquisition
    atrophy: Atrophy | None = None

    @property
    def strip_at(self) -> float | None:
        """Signed distance (mm) to the surface of the brain below which everything is removed."""
        return self.acquisition.strip_at


@dataclass
class Rendered:
    """A draw on a grid; all tensors have the grid's shape.

    Attributes
    ----------
    image : Tensor of float, shape (X, Y, Z)
        Intensities in [0, 1].
    labels : Tensor of uint8
        Position in the source table.
    distance : Tensor of float
        Signed distance (mm) to the surface of the brain, positive inside.
    coordinates : Tensor, shape (3, X, Y, Z)
        Atlas coordinates (mm), before mirroring.
    visible : Tensor of bool or None
        Field of view, in a shape that broadcasts to the grid; None if it covers the whole grid.
    cavity : Tensor of float or None
        Signed distance (mm) to the surface of the cranial cavity, positive inside; None if the maps have no
        cavity.
    """

    image: Tensor
    labels: Tensor
    distance: Tensor
    coordinates: Tensor
    visible: Tensor | None = None
    cavity: Tensor | None = None


@dataclass
class _Positions:
    """A grid in every frame: world as one line per axis, the others as one tensor per axis."""

    line: list[Tensor]
    atlas: list[Tensor]
    voxel: list[Tensor]
    level: Tensor | None


class HeadGenerator:
    """Draws and renders synthetic heads from prepared label maps.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.data.prepare.prepare`.
    config : GeneratorConfig
        Ranges of the generator.
    device : str or torch.device
        Device of the computations.
    """

    def __init__(self, path: Path, config: GeneratorConfig, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            check_kind(meta, "heads", path)
            self.maps, self.distances, self.from_atlas = [], [], []
            self.seeds: list[Tensor | None] = []
            self.cavities: list[Tensor | None] = []
            for k in range(meta["count"]):
                self.maps.append(torch.from_numpy(arrays[f"labels{k}"]).to(self.device))
                self.distances.append(self._read(arrays[f"distance{k}"]))
                cavity = f"cavity{k}"
                self.cavities.append(self._read(arrays[cavity]) if cavity in arrays else None)
                inverse = np.linalg.inv(arrays[f"atlas{k}"])
                self.from_atlas.append(torch.from_numpy(inverse).float())
                seeds = f"seeds{k}"
                self.seeds.append(
                    torch.from_numpy(arrays[seeds]).to(self.device) if seeds in arrays else None
                )
        self.walls: dict[int, Tensor] = {}
        self.centroids = meta["centroids"]
        self.source = source_table(meta["table"])
        self.lesion_of = torch.from_numpy(self.source.lesion).to(self.device)
        self.inner = torch.from_numpy(self.source.cavity == 1).to(self.device)
        self.tissue = torch.from_numpy(self.source.tissue).to(self.device)
        self.fluid = int(np.flatnonzero(self.source.values == FLUID)[0]) if self.inner.any() else 0

    def _read(self, stored: np.ndarray) -> Tensor:
        """Return stored distances in mm."""
        return torch.from_numpy(stored).to(self.device).float() * DISTANCE_UNIT

    def draw(self, number: int | None = None) -> Draw:
        """Return a random head of map ``number`` (modulo the number of maps), or of a random map.

        All random numbers come from torch's global generator.
        """
        config = self.config
        number = integer(0, len(self.maps)) if number is None else number % len(self.maps)
        seeded = self.seeds[number] is not None and uniform(0, 1) < config.seeds
        labels = self.maps[number]
        if bool((self.lesion_of >= 0).any()) and uniform(0, 1) < config.lesions:
            labels = paste(labels, self.lesion_of, config)
        shrinking = None if self.cavities[number] is None else atrophy.draw_atrophy(config)
        if shrinking is not None and shrinking.thinned:
            labels = atrophy.thinned(labels, self.tissue, self.fluid)
        found = Draw(
            number=number,
            to_atlas=affine(config),
            mirrored=uniform(0, 1) < config.mirror,
            displacement=deformation(config, self.device),
            labels=labels,
            contrast=draw_contrast(self.source, config, self.device, seeded=seeded),
            acquisition=draw_acquisition(config),
            atrophy=shrinking,
        )
        if config.ventricles:
            amount = uniform(-config.ventricles, config.ventricles)
            walls = self._walls(number)
            found.displacement = ventricles.moved(found.displacement, walls, amount, mirrored=found.mirrored)
        return found

    def _walls(self, number: int) -> Tensor:
        """Return the displacement of the walls of a map's ventricles, found once for each map."""
        if number not in self.walls:
            self.walls[number] = ventricles.walls(
                self.maps[number], self.source.structure, self.from_atlas[number]
            )
        return self.walls[number]

    def render(
        self,
        draw: Draw,
        center: tuple[float, float, float],
        shape: tuple[int, int, int],
        spacing: float,
        finer: int = 1,
    ) -> Rendered:
        """Return a head on a grid.

        Parameters
        ----------
        draw : Draw
            Synthetic head.
        center : tuple of float
            Center of the grid (world mm).
        shape : tuple of int
            Number of voxels along each axis.
        spacing : float
            Voxel size (mm).
        finer : int
            Factor of a finer grid on which intensities are rendered and averaged, for partial volume. The
            label of a voxel is the label at its center.
        """
        fine_shape = tuple(n * finer for n in shape)
        at = self._positions(draw, center, fine_shape, spacing / finer)
        labels, index, inside = self._labels(draw, at.voxel)
        voxel, atlas = at.voxel, at.atlas
        if finer > 1:
            voxel, atlas = (
                [F.avg_pool3d(axis.expand(fine_shape)[None, None], finer)[0, 0] for axis in axes]
                for axes in (voxel, atlas)
            )
        distance = self._distance(draw, voxel)
        line = [axis.view(-1, finer).mean(1) for axis in at.line]
        field = visible(draw.acquisition, line)
        kept = self._kept(draw, distance, field, line)
        image = self._intensities(draw, labels, index, inside, at.level)
        if kept is not None:
            image = image * (kept if finer == 1 else _repeat(kept.expand(shape), finer))
        if finer > 1:
            image = F.avg_pool3d(image[None, None], finer)[0, 0]
            # With an even number of fine voxels none of them lies at the center.
            labels, _, _ = self._labels(draw, voxel)
        image = acquire(draw.acquisition, image, spacing, kept)
        if draw.acquisition.noisy_background:
            image = with_noisy_background(image, labels == 0 if field is None else (labels == 0) & field)
        coordinates = torch.stack([axis.expand(shape) for axis in atlas])
        cavity = self.cavities[draw.number]
        cavity = None if cavity is None else self._sampled(cavity, draw, voxel)
        return Rendered(image, labels, distance, coordinates, field, cavity)

    def _labels(self, draw: Draw, voxel: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the labels at voxels of the map, their flat index, and whether they are inside the map."""
        index, inside = _nearest(draw.labels.shape, voxel)
        labels = draw.labels.view(-1)[index] * inside
        cavity = self.cavities[draw.number]
        if draw.atrophy is None or cavity is None:
            return labels, index, inside
        other, there = _nearest(draw.labels.shape, self._shrunk(draw, voxel))
        brain = draw.labels.view(-1)[other] * there
        brain = torch.where(self.inner[brain.int()], brain, self.fluid)
        moves = self.inner[labels.int()] & (self._sampled(cavity, draw, voxel) > 0)
        return torch.where(moves, brain, labels), index, inside

    def _shrunk(self, draw: Draw, voxel: list[Tensor]) -> list[Tensor]:
        """Return where the map has what lies at voxels of a head with atrophy."""
        assert draw.atrophy is not None
        return atrophy.shrunk(voxel, self.from_atlas[draw.number][:3, 3], draw.atrophy.scale)

    def _positions(self, draw: Draw, center, shape, spacing) -> _Positions:
        """The grid in world, atlas and map coordinates, and the level that splits classes."""
        line = [
            (torch.arange(n, device=self.device) - (n - 1) / 2) * spacing + c
            for n, c in zip(shape, center, strict=True)
        ]
        atlas = linear(draw.to_atlas, line)
        # The deformation is smooth: it is looked up on a coarse grid and interpolated.
        coarse = [max(2, math.ceil(n * spacing / 6)) for n in shape]
        rough = [
            (torch.arange(m, device=self.device) + 0.5) / m * n * spacing - n * spacing / 2 + c
            for m, n, c in zip(coarse, shape, center, strict=True)
        ]
        where = torch.stack(linear(draw.to_atlas, rough), -1)[None].flip(-1) / (BOX / 2)
        split = draw.contrast.split
        fields = draw.displacement if split is None else torch.cat([draw.displacement, split], 1)
        found = F.grid_sample(fields, where, padding_mode="border", align_corners=True)
        found = F.interpolate(found, size=shape, mode="trilinear", align_corners=False)[0]
        moved = [a + s for a, s in zip(atlas, found[:3], strict=True)]
        if draw.mirrored:
            moved[0] = -moved[0]
        matrix = self.from_atlas[draw.number]
        voxel = [
            matrix[i, 0] * moved[0] + matrix[i, 1] * moved[1] + matrix[i, 2] * moved[2] + matrix[i, 3]
            for i in range(3)
        ]
        level = None if split is None else found[3].clamp_(0, LEVELS - 0.01).int()
        return _Positions(line, atlas, voxel, level)

    def _distance(self, draw: Draw, voxel: list[Tensor]) -> Tensor:
        """Return the signed distance (world mm) to the surface of the brain."""
        stored = self.distances[draw.number]
        if draw.atrophy is None:
            return self._sampled(stored, draw, voxel)
        return draw.atrophy.scale * self._sampled(stored, draw, self._shrunk(draw, voxel))

    def _sampled(self, stored: Tensor, draw: Draw, voxel: list[Tensor]) -> Tensor:
        """Return a distance of the map in world mm: at 2 mm, times the mean change of scale."""
        where = torch.stack(
            [(v / 2) / (n - 1) * 2 - 1 for v, n in zip(voxel, stored.shape, strict=True)], -1
        ).flip(-1)
        sampled = F.grid_sample(stored[None, None], where[None], padding_mode="border", align_corners=True)
        total = self.from_atlas[draw.number][:3, :3] @ draw.to_atlas
        return sampled[0, 0] / abs(float(torch.linalg.det(total))) ** (1 / 3)

    def _kept(self, draw: Draw, distance: Tensor, field: Tensor | None, line: list[Tensor]) -> Tensor | None:
        """Return the voxels left by stripping, defacing and the field of view; None for all voxels."""
        kept = None
        if draw.strip_at is not None:
            kept = distance > draw.strip_at
            if draw.acquisition.uneven:
                bumps = torch.randn(1, 1, 6, 6, 6, device=self.device) * draw.acquisition.uneven
                bumps = F.interpolate(bumps, size=distance.shape, mode="trilinear", align_corners=True)
                kept = distance > draw.strip_at + bumps[0, 0]
        left = uncut(draw.acquisition, draw.to_atlas, line)
        if left is not None:
            kept = left | (distance > -2) if kept is None else left & kept
        if field is not None:
            kept = field if kept is None else kept & field
        return kept

    def _intensities(
        self, draw: Draw, labels: Tensor, index: Tensor, inside: Tensor, level: Tensor | None
    ) -> Tensor:
        """Return a normal random number per voxel with the mean and standard deviation of its class."""
        contrast = draw.contrast
        if contrast.seeded:
            # Voxels without a seed, such as lesions, get the intensity of the background.
            seeds = self.seeds[draw.number]
            assert seeds is not None
            entry = (seeds.view(-1)[index] * inside).int()
        else:
            entry = labels.int() * LEVELS
            if level is not None:
                entry = entry + level
        mean, deviation = contrast.means[entry], contrast.deviations[entry]
        small = [max(2, n // 3) for n in labels.shape]
        smooth = F.interpolate(torch.randn(1, 1, *small, device=self.device), size=labels.shape)[0, 0]
        part = self.config.texture * uniform(0, 1)
        return mean + deviation * ((1 - part) * torch.randn_like(mean) + part * smooth)


def _nearest(shape: torch.Size, voxel: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the flat index of the nearest voxel of a map, and whether it is inside the map."""
    rounded = [v.round().int() for v in voxel]
    index: Any = 0
    inside: Any = True
    for i, n in zip(rounded, shape, strict=True):
        inside = (i >= 0) & (i < n) & inside
        index = i.clamp(0, n - 1) + index * n
    return index.long(), torch.as_tensor(inside)


def _repeat(mask: Tensor, finer: int) -> Tensor:
    return F.interpolate(mask[None, None].float(), scale_factor=finer)[0, 0] > 0
