"""Examples of lesion networks: slices of real scans with masks, and of synthetic heads with lesions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.segmentation import lesion
from ..core.example import Example
from ..synthesis.contrast import LEVELS
from ..synthesis.deformation import integer, uniform
from ..synthesis.generator import Draw, HeadGenerator

FARTHEST = 10.0
"""Maximum stored distance (mm) to the brain."""

DARK = -2.0
"""Intensity of the background."""


@dataclass(frozen=True)
class Case:
    """A prepared scan with thick slices (:func:`brainseg.models.segmentation.lesion.prepared`).

    Attributes
    ----------
    image : Tensor, shape (X, Y, Z)
        Normalized intensities: deviations from the median of the brain.
    outside : Tensor
        Distance (mm) to the brain, 0 inside.
    lesion : Tensor of bool
        Lesion mask.
    step : float
        Distance (mm) between slices.
    zero : float
        Value of ``image`` without signal.
    """

    image: Tensor
    outside: Tensor
    lesion: Tensor
    step: float
    zero: float


class LesionSlices:
    """Draws slices for training.

    Parameters
    ----------
    cases : sequence of Case
        Real scans; can be empty.
    generator : HeadGenerator or None
        Generator of synthetic heads with lesions.
    shape : sequence of int
        Number of voxels along the sides of a slice.
    spacing : float
        Voxel size (mm) within a slice.
    repeat : int
        Number of slices per draw.
    real : float
        Share of real slices.
    rotation, scaling, mirror : float
        Largest rotation (degrees) and relative change of size of real slices, and probability of a mirror
        image.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        generator: HeadGenerator | None,
        shape: Sequence[int],
        spacing: float,
        repeat: int = 8,
        real: float = 0.6,
        *,
        rotation: float = 20.0,
        scaling: float = 0.15,
        mirror: float = 0.5,
    ) -> None:
        if not cases and generator is None:
            raise UsageError(None, "there is no training data", "Give scans with masks, heads or both")
        self.cases, self.generator, self.repeat = cases, generator, repeat
        self.rotation, self.scaling, self.mirror = rotation, scaling, mirror
        self.shape, self.spacing = (int(shape[0]), int(shape[1])), spacing
        self.real = 1.0 if generator is None else real if cases else 0.0
        # Slices without lesions are drawn too; the weight increases with the area of lesions.
        areas = [case.lesion.float().sum((0, 1)) for case in cases]
        self.weights = [area / area.sum().clamp(min=1) + 0.4 / len(area) for area in areas]

    def examples(self, number: int | None = None) -> list[Example]:
        """Return slices of real scans, and of one synthetic head of map ``number`` or of a random map."""
        count = sum(uniform(0, 1) < self.real for _ in range(self.repeat))
        found = [self._real() for _ in range(count)]
        if count < self.repeat and self.generator is not None:
            draw = bright(self.generator.draw(number), self.generator)
            while len(found) < self.repeat:
                found += self._synthetic(draw)
        return found[: self.repeat]

    def _real(self) -> Example:
        number = integer(0, len(self.cases))
        case = self.cases[number]
        z = int(torch.multinomial(self.weights[number], 1))
        reach = uniform(4, 6) * (1 if uniform(0, 1) < 0.5 else -1) / case.step
        planes = [_plane(case.image, z + step) for step in (0.0, -reach, reach)]
        planes += [_plane(case.outside, z + step) for step in (0.0, -reach, reach)]
        planes.append(case.lesion[..., z].float())
        seen = self._moved(torch.stack(planes))
        signal = (seen[:3] - case.zero) / -case.zero if case.zero < 0 else seen[:3]
        image = _acquired(signal) * max(-case.zero, 0.1) + min(case.zero, -0.1)
        return _example(image, seen[3:6], seen[6] > 0.5)

    def _moved(self, planes: Tensor) -> Tensor:
        """Return planes on the grid of the network after a random affine, background outside the scan."""
        angle = math.radians(uniform(-self.rotation, self.rotation))
        size = self.scaling
        scale = [(1 + uniform(-size, size)) * (1 + uniform(-0.4 * size, 0.4 * size)) for _ in range(2)]
        if uniform(0, 1) < self.mirror:
            scale[0] = -scale[0]
        cos, sin = math.cos(angle), math.sin(angle)
        sides = planes.shape[1:]
        # From the grid of the network to the scan, in units of half the sides; y is the first column.
        rows = [
            [cos * scale[1] * self.shape[1] / sides[1], sin * scale[0] * self.shape[0] / sides[1]],
            [-sin * scale[1] * self.shape[1] / sides[0], cos * scale[0] * self.shape[0] / sides[0]],
        ]
        shift = (torch.rand(2, 1) - 0.5) * 0.2
        theta = torch.cat([torch.tensor(rows), shift], 1)[None]
        where = F.affine_grid(theta, [1, 1, *self.shape], align_corners=False)
        found = F.grid_sample(planes[None], where, align_corners=False)[0]
        beyond = F.grid_sample(torch.ones(1, 1, *sides), where, align_corners=False)[0]
        found[3:6] += (1 - beyond) * FARTHEST
        return found

    def _synthetic(self, draw: Draw) -> list[Example]:
        """Return slices of one slab."""
        assert self.generator is not None
        reach = max(1, round(uniform(4, 6) / self.spacing))
        middle = (uniform(-8, 8), uniform(-8, 8), uniform(-50, 62))
        rendered = self.generator.render(draw, middle, (*self.shape, 3 * reach + 1), self.spacing)
        values = self.generator.source.values
        lesions = torch.from_numpy(np.isin(values, (25, 57)))[rendered.labels.long()]
        inside = rendered.distance > 0
        if int(inside.sum()) < 500:
            return []
        level = rendered.image[inside]
        middle_level = level.median()
        deviation = (1.4826 * (level - middle_level).abs().median()).clamp(min=0.02)
        image = (rendered.image - middle_level) / (lesion.SPREAD * deviation)
        out = []
        for at in (reach, 2 * reach):
            order = (at, at - reach, at + reach)
            planes = torch.stack([image[..., k] for k in order])
            planes = planes * uniform(0.8, 1.2) + uniform(-0.1, 0.1)
            outside = torch.stack([-rendered.distance[..., k] for k in order]).clamp(min=0)
            out.append(_example(planes, outside, lesions[..., at] & inside[..., at]))
        return out


def bright(draw: Draw, generator: HeadGenerator) -> Draw:
    """Return a head whose lesions are brighter than white and gray matter."""
    values, means = generator.source.values, draw.contrast.means
    position = {int(v): k for k, v in enumerate(values)}

    def level(value: int) -> slice:
        return slice(position[value] * LEVELS, (position[value] + 1) * LEVELS)

    around = max(float(means[level(v)].mean()) for v in (2, 3, 41, 42) if v in position)
    for value in (25, 57):
        if value in position:
            own = means[level(value)]
            means[level(value)] = around + uniform(12, 90) + 0.5 * (own - own.mean())
    return draw


def _plane(data: Tensor, at: float) -> Tensor:
    """Return the slice at a fractional position, clipped to the scan."""
    at = min(max(at, 0.0), data.shape[-1] - 1.0)
    low = int(at)
    high = min(low + 1, data.shape[-1] - 1)
    return data[..., low].float() * (1 - at + low) + data[..., high].float() * (at - low)


def _acquired(signal: Tensor) -> Tensor:
    """Return a signal after random bias field, contrast, blur and noise; its median stays near 1."""
    points = torch.randn(1, 1, 4, 4) * uniform(0, 0.2)
    field = F.interpolate(points, size=signal.shape[1:], mode="bicubic", align_corners=True)[0]
    x = signal.clamp(min=0) * field.exp()
    x = x ** math.exp(0.25 * float(torch.randn(()).clamp(-2, 2)))
    if uniform(0, 1) < 0.3:
        size = [round(n * uniform(0.5, 1)) for n in x.shape[1:]]
        x = F.interpolate(F.interpolate(x[None], size=size, mode="bilinear"), size=x.shape[1:])[0]
    x = x + torch.randn_like(x) * uniform(0, 0.05)
    return 1 + (x - 1) * uniform(0.8, 1.25) + uniform(-0.08, 0.08)


def _example(image: Tensor, outside: Tensor, truth: Tensor) -> Example:
    """Return an example whose background is removed, with a random error of the brain mask."""
    at = max(0.0, lesion.AROUND + uniform(-3, 3))
    x = torch.where(outside <= at, image.clamp(DARK, 4), DARK)
    return Example(x[None, ..., None], None, {"lesion": truth.float()[None, None, ..., None]})


def load(path: Path) -> list[Case]:
    """Return the cases of prepared arrays."""
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
        return [
            Case(
                torch.from_numpy(arrays[f"image{k}"]).float(),
                torch.from_numpy(arrays[f"outside{k}"]).float() / 10,
                torch.from_numpy(arrays[f"lesion{k}"]),
                meta["step"][k],
                meta["zero"][k],
            )
            for k in range(len(meta["names"]))
        ]
