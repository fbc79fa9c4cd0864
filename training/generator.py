"""Synthetic heads from label maps: any contrast, resolution and artefact, drawn afresh at every step.

The idea and most ranges are SynthSeg's (Billot et al. 2023): labels are deformed, every class gets a
random intensity, then come bias field, blur, low resolution, noise and gamma. Contrasts are a curriculum:
a share of the draws is near a real contrast (class means of the source table), the rest is random.

Frames: *world* is the synthetic image's own millimetres, its origin at the brain's centre; *atlas* is the
mean head of all maps. A draw holds the way from one to the other, so that the same head can be rendered
on several grids (a whole head at 3 mm, a brain at 1.5 mm) with one anatomy and one contrast.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .prepare import DISTANCE_UNIT, source_table

BOX = 240.0
"""Side (mm) of the atlas cube in which the nonlinear deformation lives."""

GRID = 40
"""Voxels along a side of that cube."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Ranges of the draws; angles in degrees, lengths in mm, intensities on a scale of 0-255.

    Defaults are SynthSeg's (Billot et al. 2023, table of hyperparameters) unless noted.
    """

    rotation: float = 15.0
    scaling: float = 0.2
    shearing: float = 0.03
    deformation: float = 4.0
    """Largest standard deviation of the velocity's control points (mm)."""
    contrasts: dict[str, float] = field(
        default_factory=lambda: {"T1w": 0.6, "T2w": 0.1, "FLAIR": 0.1, "PDw": 0.05, "random": 0.15}
    )
    """Share of the draws near each contrast; own choice, after a trial in which purely random contrasts
    learned far more slowly on little compute."""
    class_spread: float = 8.0
    texture: float = 0.4
    """Share of a class's deviation that is smooth in space instead of white."""
    bias: float = 0.6
    gamma: float = 0.4
    low_resolution: float = 0.4
    """Probability of a lower resolution."""
    slice_thickness: float = 6.0
    """Thickest slice (mm)."""
    noise: float = 12.0
    strip: float = 0.4
    """Probability that what lies outside the brain is removed."""


@dataclass
class Draw:
    """One synthetic head before it is put on a grid."""

    number: int
    to_atlas: Tensor
    mirrored: bool
    displacement: Tensor
    means: Tensor
    deviations: Tensor
    strip_at: float | None
    slices: tuple[float, float, float]
    noise: float
    gamma: float
    bias: float


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
        Signed distance (mm) to the brain's surface, positive inside.
    coordinates : Tensor, shape (3, X, Y, Z)
        Atlas coordinates (mm), mirrored heads already turned back.
    """

    image: Tensor
    labels: Tensor
    distance: Tensor
    coordinates: Tensor


class HeadGenerator:
    """Draws and renders synthetic heads from prepared label maps.

    Parameters
    ----------
    path : Path
        Arrays written by :func:`brainseg.training.prepare.prepare`.
    config : GeneratorConfig
        Ranges.
    device : str or torch.device
        Where everything is computed.
    """

    def __init__(self, path: Path, config: GeneratorConfig, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            self.maps, self.distances, self.from_atlas = [], [], []
            for k in range(meta["count"]):
                self.maps.append(torch.from_numpy(arrays[f"labels{k}"]).to(self.device))
                distance = torch.from_numpy(arrays[f"distance{k}"]).to(self.device)
                self.distances.append(distance.float() * DISTANCE_UNIT)
                inverse = np.linalg.inv(arrays[f"atlas{k}"])
                self.from_atlas.append(torch.from_numpy(inverse).float())
        self.centroids = meta["centroids"]
        self.source = source_table(meta["table"])
        self.class_of = torch.from_numpy(self.source.contrast).to(self.device)

    def draw(self, number: int | None = None) -> Draw:
        """Draw a head (torch's global generator decides) from map ``number``, counted around, or any."""
        config = self.config
        number = _integer(0, len(self.maps)) if number is None else number % len(self.maps)
        thick = 1 + (config.slice_thickness - 1) * _uniform(0, 1) ** 2
        slices = [1.0, 1.0, 1.0]
        if _uniform(0, 1) < config.low_resolution:
            if _uniform(0, 1) < 0.4:
                slices = [min(thick, 2.5)] * 3
            else:
                slices[_integer(0, 3)] = thick
        means, deviations = self._contrast()
        strip_at = None
        if _uniform(0, 1) < config.strip:
            strip_at = _uniform(-5, 1.5) if _uniform(0, 1) < 0.7 else _uniform(-10, 2)
        return Draw(
            number=number,
            to_atlas=self._affine(),
            mirrored=_uniform(0, 1) < 0.5,
            displacement=self._deformation(),
            means=means,
            deviations=deviations,
            strip_at=strip_at,
            slices=(slices[0], slices[1], slices[2]),
            noise=_uniform(0, config.noise) * _uniform(0, 1),
            gamma=math.exp(config.gamma * float(torch.randn(()).clamp(-2, 2))),
            bias=_uniform(0, config.bias),
        )

    def render(
        self,
        draw: Draw,
        centre: tuple[float, float, float],
        shape: tuple[int, int, int],
        spacing: float,
        finer: int = 1,
    ) -> Rendered:
        """Put a draw on a grid.

        Parameters
        ----------
        draw : Draw
            The head.
        centre : tuple of float
            Centre of the grid in world mm.
        shape : tuple of int
            Voxels.
        spacing : float
            Voxel size (mm).
        finer : int
            Render intensities on a grid that many times finer and average: partial volume. A voxel's
            label is the one at its centre.
        """
        fine_shape = tuple(n * finer for n in shape)
        fine = spacing / finer
        atlas, voxel = self._positions(draw, centre, fine_shape, fine)
        labels = _gather(self.maps[draw.number], voxel)
        if finer > 1:
            voxel, atlas = (
                [F.avg_pool3d(axis.expand(fine_shape)[None, None], finer)[0, 0] for axis in axes]
                for axes in (voxel, atlas)
            )
        distance = self._distance(draw, voxel)
        image = self._intensities(draw, labels, distance, finer)
        if finer > 1:
            image = F.avg_pool3d(image[None, None], finer)[0, 0]
            # With an even number of fine voxels none of them lies at the centre.
            labels = _gather(self.maps[draw.number], voxel)
        image = self._acquire(draw, image, spacing)
        coordinates = torch.stack([axis.expand(shape) for axis in atlas])
        return Rendered(image, labels, distance, coordinates)

    def _affine(self) -> Tensor:
        c = self.config
        angles = [math.radians(_uniform(-c.rotation, c.rotation)) for _ in range(3)]
        rotation = torch.eye(3)
        for axis, angle in enumerate(angles):
            turn = torch.eye(3)
            i, j = [(1, 2), (0, 2), (0, 1)][axis]
            turn[i, i] = turn[j, j] = math.cos(angle)
            turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
            rotation = rotation @ turn
        overall = _uniform(-c.scaling, c.scaling) * 0.7
        scale = torch.diag(torch.tensor([1 + overall + _uniform(-1, 1) * c.scaling * 0.4 for _ in range(3)]))
        shear = torch.eye(3) + torch.triu((torch.rand(3, 3) * 2 - 1) * c.shearing, 1)
        return rotation @ scale @ shear

    def _deformation(self) -> Tensor:
        """Displacement (mm) on the atlas cube: a smooth velocity field by scaling and squaring."""
        n = _integer(4, 12)
        strength = _uniform(0, self.config.deformation)
        velocity = torch.randn(1, 3, n, n, n, device=self.device) * strength
        field_ = F.interpolate(velocity, size=(GRID,) * 3, mode="trilinear", align_corners=True) / 32
        axis = torch.linspace(-1, 1, GRID, device=self.device)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        identity = torch.stack([x, y, z], -1)[None]
        for _ in range(5):
            # The field's channels are x, y, z of space, whose first axis is the tensor's first dimension.
            where = identity + field_.permute(0, 2, 3, 4, 1).flip(-1) / (BOX / 2)
            field_ = field_ + F.grid_sample(field_, where, padding_mode="border", align_corners=True)
        return field_

    def _contrast(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every intensity class."""
        c = self.config
        count = len(self.source.classes)
        kinds, shares = zip(*c.contrasts.items(), strict=True)
        kind = kinds[int(torch.multinomial(torch.tensor(shares), 1))]
        means = torch.rand(count) * 255
        deviations = torch.rand(count) * (35 if _uniform(0, 1) < 0.5 else 15)
        if kind != "random":
            known = torch.from_numpy(self.source.means[kind])
            contrast = _uniform(0.8, 1.25)
            drawn = 125 + (known - 125) * contrast + torch.randn(count) * c.class_spread
            means = torch.where(known.isnan(), means * 0.9, drawn.clamp(0, 300))
            deviations = 2 + torch.rand(count) * 12
        if kind != "random" or _uniform(0, 1) < 0.5:
            means[0], deviations[0] = 0.0, _uniform(0, 5)
        return means.to(self.device), deviations.to(self.device)

    def _positions(self, draw: Draw, centre, shape, spacing) -> tuple[list[Tensor], list[Tensor]]:
        """Atlas coordinates (mm) and voxel coordinates in the source map, as one tensor an axis."""
        line = [
            (torch.arange(n, device=self.device) - (n - 1) / 2) * spacing + c
            for n, c in zip(shape, centre, strict=True)
        ]
        atlas = _apply(draw.to_atlas, None, line)
        coarse = [max(2, math.ceil(n * spacing / 6)) for n in shape]
        rough = [
            (torch.arange(m, device=self.device) + 0.5) / m * n * spacing - n * spacing / 2 + c
            for m, n, c in zip(coarse, shape, centre, strict=True)
        ]
        where = torch.stack(_apply(draw.to_atlas, None, rough), -1)[None].flip(-1) / (BOX / 2)
        shift = F.grid_sample(draw.displacement, where, padding_mode="border", align_corners=True)
        shift = F.interpolate(shift, size=shape, mode="trilinear", align_corners=False)[0]
        moved = [a + s for a, s in zip(atlas, shift, strict=True)]
        if draw.mirrored:
            moved[0] = -moved[0]
        matrix = self.from_atlas[draw.number]
        voxel = [
            matrix[i, 0] * moved[0] + matrix[i, 1] * moved[1] + matrix[i, 2] * moved[2] + matrix[i, 3]
            for i in range(3)
        ]
        return atlas, voxel

    def _distance(self, draw: Draw, voxel: list[Tensor]) -> Tensor:
        """Signed distance in world mm, from the map's own by the mean change of scale."""
        stored = self.distances[draw.number]
        where = torch.stack(
            [(v / 2) / (n - 1) * 2 - 1 for v, n in zip(voxel, stored.shape, strict=True)], -1
        ).flip(-1)
        sampled = F.grid_sample(stored[None, None], where[None], padding_mode="border", align_corners=True)[
            0, 0
        ]
        total = self.from_atlas[draw.number][:3, :3] @ draw.to_atlas
        return sampled / abs(float(torch.linalg.det(total))) ** (1 / 3)

    def _intensities(self, draw: Draw, labels: Tensor, distance: Tensor, finer: int) -> Tensor:
        position = labels.int()
        mean = draw.means[self.class_of][position]
        deviation = draw.deviations[self.class_of][position]
        small = [max(2, n // 3) for n in labels.shape]
        smooth = F.interpolate(torch.randn(1, 1, *small, device=self.device), size=labels.shape)[0, 0]
        part = self.config.texture * _uniform(0, 1)
        image = mean + deviation * ((1 - part) * torch.randn_like(mean) + part * smooth)
        if draw.strip_at is not None:
            inside = distance > draw.strip_at
            if finer > 1:
                inside = F.interpolate(inside[None, None].float(), scale_factor=finer)[0, 0] > 0
            image = image * inside
        return image

    def _acquire(self, draw: Draw, image: Tensor, spacing: float) -> Tensor:
        """Bias field, resolution, noise, normalization and gamma."""
        x = image[None, None]
        points = torch.randn(1, 1, 4, 4, 4, device=self.device) * draw.bias
        x = x * torch.exp(F.interpolate(points, size=image.shape, mode="trilinear", align_corners=True))
        x = _blur(x, [0.4 + max(s / spacing - 1, 0) * 0.35 for s in draw.slices])
        if max(draw.slices) > spacing:
            size = [
                max(4, round(n / max(s / spacing, 1))) for n, s in zip(image.shape, draw.slices, strict=True)
            ]
            low = F.interpolate(x, size=size, mode="trilinear", align_corners=False)
            low = low + torch.randn_like(low) * draw.noise
            x = F.interpolate(low, size=image.shape, mode="trilinear", align_corners=False)
        else:
            x = x + torch.randn_like(x) * draw.noise
        if draw.strip_at is not None:
            x = x * (image != 0)
        return normalize(x[0, 0]) ** draw.gamma


def normalize(image: Tensor) -> Tensor:
    """Scale to [0, 1] between robust percentiles; see :func:`brainseg.models.volume.normalize`."""
    from ..models.volume import normalize as scale

    return scale(image)


def _gather(labels: Tensor, voxel: list[Tensor]) -> Tensor:
    """Nearest label; outside the map 0."""
    index = None
    inside = None
    for v, n in zip(voxel, labels.shape, strict=True):
        i = v.round().int()
        ok = (i >= 0) & (i < n)
        inside = ok if inside is None else inside & ok
        i = i.clamp(0, n - 1)
        index = i if index is None else index * n + i
    return labels.view(-1)[index.long()] * inside


def _apply(matrix: Tensor, offset: Tensor | None, line: list[Tensor]) -> list[Tensor]:
    x, y, z = line[0][:, None, None], line[1][None, :, None], line[2][None, None, :]
    out = [matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] * z for i in range(3)]
    return out if offset is None else [a + o for a, o in zip(out, offset, strict=True)]


def _blur(x: Tensor, sigmas: list[float]) -> Tensor:
    for axis, sigma in enumerate(sigmas):
        radius = max(1, math.ceil(2.5 * sigma))
        t = torch.arange(-radius, radius + 1, device=x.device)
        kernel = torch.exp(-0.5 * (t / sigma) ** 2)
        shape, pad = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], pad[axis] = -1, radius
        x = F.conv3d(x, (kernel / kernel.sum()).view(shape), padding=pad)
    return x


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, high, ()))
