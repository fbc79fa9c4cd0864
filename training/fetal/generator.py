"""Fetal brains for training: in any position, real and synthetic, with and without surroundings.

Synthetic intensities follow FetalSynthSeg (Zalevskyi et al. 2024): a Gaussian mixture splits every meta-label
(fluid, gray, white) of a real image into subclasses, and each subclass gets its own intensity. Real images
are used too, deformed and with another contrast, where their license allows it.

Frames: *atlas* is the upright brain scaled to one length, so that brains of 21 and 38 weeks fill the same
box; *world* is in mm of the synthetic scan.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.geometry.volume import normalize
from ...models.population import labels as label_tables
from ..data.arrays import DISTANCE_UNIT, check_kind
from ..data.intensity_classes import MOST
from ..synthesis.deformation import uniform
from . import interpolation as paths
from .source_labels import read_table


@dataclass
class Case:
    """A prepared subject: arrays of one shape, matrix and scale of the atlas frame, age (weeks)."""

    image: Tensor
    labels: Tensor
    seeds: Tensor
    distance: Tensor
    from_atlas: Tensor
    scale: float
    weeks: float


@dataclass(frozen=True)
class FetalConfig:
    """Ranges of the generator; angles in degrees, lengths in mm, intensities on a scale of 0-255."""

    real: float = 0.5
    """Share of real images; the others are synthetic."""
    random: float = 0.4
    """Share of synthetic images with random instead of T2w-like subclass means."""
    surroundings: float = 0.5
    """Probability of tissue around the brain."""
    any_position: float = 0.75
    """Probability of a position drawn from all rotations (whole brains only)."""
    rotation: float = 12.0
    scaling: float = 0.08
    anisotropy: float = 0.06
    shift: float = 4.0
    deformation: float = 3.0
    bias: float = 0.35
    noise: float = 0.03
    gamma: float = 0.25
    blur: float = 0.5
    low_resolution: float = 0.3
    """Probability of larger voxels than the grid's, along all axes or one."""
    largest_voxel: float = 1.5
    """Largest voxel (mm of the grid) along all axes; slices may be twice as thick."""
    slices: float = 0.2
    """Probability of slice artifacts: gains, shifts and signal drop-outs."""
    between: float = 0.5
    """Probability of a shape between the subject and a neighbor in age or in another family of atlases."""


class FetalGenerator:
    """Draws brains from prepared arrays onto grids.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    config : FetalConfig
        Ranges of the generator.
    every : int
        Downsampling factor of the arrays, for coarse grids.
    device : str
        Device of the computations.
    table_name : str
        Label table; its structures without sides are the classes.
    """

    def __init__(
        self,
        path: Path,
        config: FetalConfig,
        every: int = 1,
        device: str = "cpu",
        table_name: str = "fetal",
    ) -> None:
        self.config, self.device = config, torch.device(device)
        unsided = label_tables.load(table_name).unsided
        table = read_table(table_name)
        position = [unsided.index(int(index)) for index in table["structure"]]
        self.structure = torch.tensor(position, device=self.device)
        self.meta = torch.from_numpy(table["meta"]).to(self.device)
        self.cases: list[Case] = []
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            check_kind(meta, "fetuses", path)
            self.names = meta["names"]
            self.paths = paths.Paths(arrays, meta.get("paths", []), self.device)
            for k in range(meta["count"]):
                matrix = torch.from_numpy(np.linalg.inv(arrays[f"atlas{k}"])).float()
                image = torch.from_numpy(arrays[f"image{k}"])
                if every > 1:
                    matrix = torch.diag(torch.tensor([1 / every] * 3 + [1.0])) @ matrix
                    smooth = F.avg_pool3d(image[None, None].float(), 3, 1, 1)[0, 0]
                    image = smooth[::every, ::every, ::every].round().to(torch.uint8)
                pick = (slice(None, None, every),) * 3
                labels = torch.from_numpy(arrays[f"labels{k}"][pick].copy())
                seeds = torch.from_numpy(arrays[f"seeds{k}"][(slice(None), *pick)].copy())
                distance = torch.from_numpy(arrays[f"distance{k}"][pick].copy())
                case = Case(
                    image=image.to(self.device),
                    labels=labels.to(self.device),
                    seeds=seeds.to(self.device),
                    distance=distance.to(self.device),
                    from_atlas=matrix.to(self.device),
                    scale=float(arrays[f"scale{k}"]),
                    weeks=meta["weeks"][k],
                )
                self.cases.append(case)

    def draw(self) -> int:
        """Return a random subject; the weight of a family of atlases is the square root of its size."""
        kinds = [paths.family(name) for name in self.names]
        weight = torch.tensor([kinds.count(kind) ** -0.5 for kind in kinds])
        return int(torch.multinomial(weight, 1))

    def source(self, case: Case, real: bool) -> Tensor:
        """Return intensities (0-255) on the grid of a subject.

        Parameters
        ----------
        case : Case
            Subject.
        real : bool
            Whether to return the image instead of subclasses with random means.
        """
        if real:
            return case.image.float()
        values = torch.zeros(case.labels.shape, device=self.device)
        random = uniform(0, 1) < self.config.random
        meta = self.meta[case.labels.int()]
        for k in (1, 2, 3):
            n = int(torch.randint(1, MOST + 1, ()))
            where = (meta == k).nonzero(as_tuple=True)
            seeds = case.seeds[n - 1][where].int()
            if random:
                means = torch.rand(n, device=self.device) * 200 + 25
            else:
                own = torch.zeros(n, device=self.device).index_add_(0, seeds, case.image[where].float())
                size = torch.bincount(seeds, minlength=n).clamp(min=1)
                means = own / size * uniform(0.85, 1.15) + torch.randn(n, device=self.device) * 12
            deviations = 3 + torch.rand(n, device=self.device) * (15 if random else 8)
            values[where] = means[seeds] + deviations[seeds] * torch.randn(seeds.shape, device=self.device)
        return values.clamp(0, 320)

    def render(
        self, number: int, turn: Tensor, shift: Tensor, spacing: float, shape: tuple[int, int, int],
        in_atlas: bool, real: bool | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Put a brain on a grid about the origin.

        Parameters
        ----------
        number : int
            The subject.
        turn : Tensor, shape (3, 3)
            Grid's mm to atlas mm, but for the brain's size unless ``in_atlas``.
        shift : Tensor, shape (3,)
            Atlas coordinates of the grid's center.
        spacing, shape : float, tuple of int
            The grid.
        in_atlas : bool
            Whether the grid's mm are those of the atlas frame instead of real ones.
        real : bool, optional
            Real or synthetic; drawn if not given.

        Returns
        -------
        tuple of Tensor
            Image in [0, 1], structure positions, signed distance (mm) and atlas coordinates (3, X, Y, Z).
        """
        case, c = self.cases[number], self.config
        lines = [(torch.arange(n, device=self.device) - (n - 1) / 2) * spacing for n in shape]
        world = torch.stack(torch.meshgrid(*lines, indexing="ij")).reshape(3, -1)
        size = 1.0 if in_atlas else case.scale
        atlas = (turn.to(world) * size) @ world + shift.to(world)[:, None]
        atlas = atlas + self._deformation(shape).reshape(3, -1)
        mirrored = uniform(0, 1) < 0.5
        inner = atlas * torch.tensor([[-1.0], [1.0], [1.0]]) if mirrored else atlas
        if uniform(0, 1) < c.between:
            inner = self.paths.along(number, inner, uniform(0, 0.5))
        voxel = case.from_atlas[:3, :3] @ inner + case.from_atlas[:3, 3:]
        counts = torch.tensor(case.labels.shape, device=self.device)[:, None]
        where = (2 * voxel / (counts - 1) - 1).T.flip(-1).view(1, *shape, 3)
        real = uniform(0, 1) < c.real if real is None else real
        sampled = F.grid_sample(self.source(case, real)[None, None], where, align_corners=True)[0, 0]
        distance = F.grid_sample(
            case.distance.float()[None, None], where, padding_mode="border", align_corners=True
        )[0, 0] * DISTANCE_UNIT  # fmt: skip
        index = voxel.round().long()
        inside = ((index >= 0) & (index < counts)).all(0)
        index = torch.minimum(index.clamp(min=0), counts - 1)
        flat = (index[0] * counts[1] + index[1]) * counts[2] + index[2]
        labels = (case.labels.view(-1)[flat] * inside).view(shape)
        image = self._acquire(self._surround(sampled, distance), spacing)
        return image, self.structure[labels.int()], distance, atlas.view(3, *shape)

    def _deformation(self, shape: tuple[int, int, int]) -> Tensor:
        n = int(torch.randint(3, 7, ()))
        points = torch.randn(1, 3, n, n, n, device=self.device) * uniform(0, self.config.deformation)
        return F.interpolate(points, size=shape, mode="trilinear", align_corners=True)[0]

    def _surround(self, image: Tensor, distance: Tensor) -> Tensor:
        """Return an image with shells and blobs around the brain: skull, scalp, fluid, maternal tissue."""
        outside = distance <= 0
        if uniform(0, 1) >= self.config.surroundings:
            return image
        coarse = [max(2, n // int(torch.randint(6, 17, ()))) for n in image.shape]
        blobs = F.interpolate(
            torch.randn(1, 5, *coarse, device=self.device), size=image.shape, mode="trilinear"
        )[0]
        values = torch.rand(5, device=self.device) * 230
        tissue = values[blobs.argmax(0)] + blobs[0] * 12
        wavy = distance + blobs[1] * 1.2
        start = 0.0
        for thickness, low, high in ((3, 0, 120), (5, 40, 230), (12, 120, 255)):
            start -= uniform(0.3, 1) * thickness
            level = uniform(low, high)
            if uniform(0, 1) < 0.75:
                tissue = torch.where(wavy > start, level + blobs[2] * 8, tissue)
        far = uniform(4, 40)
        if uniform(0, 1) < 0.4:
            tissue = tissue * (distance > -far)
        return torch.where(outside, tissue.clamp(min=0), image)

    def _acquire(self, image: Tensor, spacing: float) -> Tensor:
        """Return an image after slices, blur, resolution, bias field, noise, normalization and gamma."""
        c = self.config
        if uniform(0, 1) < c.slices:
            image = self._slices(image)
        x = image[None, None]
        if uniform(0, 1) < c.blur:
            w = uniform(0.05, 0.3)
            x = (1 - 2 * w) * x + 2 * w * F.avg_pool3d(x, 3, 1, 1, count_include_pad=False)
        noise = 255 * uniform(0, c.noise)
        if uniform(0, 1) < c.low_resolution:
            voxel = [uniform(spacing, max(c.largest_voxel, 1.5 * spacing))] * 3
            if uniform(0, 1) < 0.5:
                voxel = [spacing] * 3
                voxel[int(torch.randint(3, ()))] = uniform(spacing, 2 * max(c.largest_voxel, spacing))
            size = [max(4, round(n * spacing / v)) for n, v in zip(image.shape, voxel, strict=True)]
            x = F.interpolate(x, size=size, mode="area")
            x = x + torch.randn_like(x) * noise * (x > 0)
            x = F.interpolate(x, size=image.shape, mode="trilinear")
        else:
            x = x + torch.randn_like(x) * noise * (x > 0)
        points = torch.randn(1, 1, 4, 4, 4, device=self.device) * uniform(0, c.bias)
        x = x * torch.exp(F.interpolate(points, size=image.shape, mode="trilinear", align_corners=True))
        x = normalize(x[0, 0].clamp(min=0))
        return x ** math.exp(c.gamma * float(torch.randn(()).clamp(-2, 2)))

    def _slices(self, image: Tensor) -> Tensor:
        """Return an image with the slice artifacts of motion that remain after reconstruction."""
        axis = int(torch.randint(3, ()))
        x = image.movedim(axis, 0).clone()
        count = len(x)
        gain = 1 + torch.randn(count, device=self.device) * uniform(0, 0.12)
        lost = torch.rand(count, device=self.device) < 0.02
        x *= torch.where(lost, 0.3, gain)[:, None, None]
        for k in torch.randint(0, count, (int(torch.randint(0, 1 + count // 12, ())),)).tolist():
            x[k] = x[k].roll(torch.randint(-1, 2, (2,)).tolist(), (0, 1))
        return x.movedim(0, axis)
