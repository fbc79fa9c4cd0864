"""What a scanner does to a head: bias field, ghosts, slices, noise; and what people cut away afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.geometry.volume import normalize, weighted
from .config import GeneratorConfig
from .deformation import integer, linear, uniform


@dataclass
class Acquisition:
    """How one head is scanned.

    Attributes
    ----------
    strip_at : float or None
        Signed distance (mm) to the brain's surface below which all is removed.
    uneven : float
        Standard deviation (mm) by which that distance varies from place to place.
    cut : Tensor or None
        Plane (a, b, c, d) in atlas mm: what has a x + b y + c z > d is removed, a face or, stripped, a neck.
    field : tuple or None
        Axis, and least and largest world coordinate (mm) of the field of view along it.
    slices : tuple of float
        Voxel size (mm) along each axis.
    ghost : tuple or None
        Axis, number of ghosts in the field of view, strength.
    noise, gamma, bias, blur : float
        Deviation of the noise, exponent, deviation of the bias field's logarithm, and of the blur (voxels).
    """

    strip_at: float | None
    uneven: float
    cut: Tensor | None
    field: tuple[int, float, float] | None
    slices: tuple[float, float, float]
    ghost: tuple[int, int, float] | None
    noise: float
    gamma: float
    bias: float
    blur: float


def draw_acquisition(config: GeneratorConfig) -> Acquisition:
    """Draw what happens to a head."""
    strip_at, uneven, cut = None, 0.0, None
    if uniform(0, 1) < config.strip:
        strip_at = uniform(-5, 1.5) if uniform(0, 1) < 0.7 else uniform(-10, 2)
        uneven = uniform(0, config.strip_uneven)
        if uniform(0, 1) < config.neck:
            tilt = math.radians(uniform(-20, 20))
            cut = torch.tensor([0.0, math.sin(tilt), -math.cos(tilt), -uniform(*config.neck_at)])
    elif uniform(0, 1) < config.deface:
        steep = math.radians(uniform(15, 70))
        front, up = (at + uniform(-12, 12) for at in config.deface_at)
        normal = (math.cos(steep), -math.sin(steep))
        cut = torch.tensor([0.0, *normal, normal[0] * front + normal[1] * up])
    field = None
    if uniform(0, 1) < config.crop:
        end = uniform(*config.crop_at)
        field = (integer(0, 3), -end, math.inf) if uniform(0, 1) < 0.5 else (integer(0, 3), -math.inf, end)
    ghost = None
    if uniform(0, 1) < config.ghost:
        ghost = (integer(0, 3), integer(2, 5), uniform(0.02, config.ghost_strength))
    return Acquisition(
        strip_at=strip_at,
        uneven=uneven,
        cut=cut,
        field=field,
        slices=_slices(config),
        ghost=ghost,
        noise=uniform(0, config.noise) * uniform(0, 1),
        gamma=math.exp(config.gamma * float(torch.randn(()).clamp(-2, 2))),
        bias=uniform(0, config.bias),
        blur=uniform(*config.blur),
    )


def _slices(config: GeneratorConfig) -> tuple[float, float, float]:
    """One axis thicker than the others, or all of them a little."""
    thick = 1 + (config.slice_thickness - 1) * uniform(0, 1) ** 2
    slices = [1.0, 1.0, 1.0]
    if uniform(0, 1) < config.low_resolution:
        if uniform(0, 1) < 0.4:
            slices = [min(thick, 2.5)] * 3
        else:
            slices[integer(0, 3)] = thick
    return slices[0], slices[1], slices[2]


def visible(acquisition: Acquisition, line: list[Tensor]) -> Tensor | None:
    """Where the field of view is, on lines of world coordinates (mm); None if it holds everything."""
    if acquisition.field is None:
        return None
    axis, low, high = acquisition.field
    shape = [1, 1, 1]
    shape[axis] = -1
    return ((line[axis] > low) & (line[axis] < high)).view(shape)


def uncut(acquisition: Acquisition, to_atlas: Tensor, line: list[Tensor]) -> Tensor | None:
    """What the cut leaves, on the grid that lines of world coordinates span; None if there is none."""
    if acquisition.cut is None:
        return None
    height = linear((acquisition.cut[:3] @ to_atlas)[None], line)[0]
    return height < float(acquisition.cut[3])


def acquire(acquisition: Acquisition, image: Tensor, spacing: float, kept: Tensor | None) -> Tensor:
    """Bias field, ghosts, resolution, noise, normalization and gamma.

    Parameters
    ----------
    acquisition : Acquisition
        What was drawn.
    image : Tensor, shape (X, Y, Z)
        Intensities.
    spacing : float
        Voxel size (mm).
    kept : Tensor of bool or None
        Where there is anything left after stripping and cropping.
    """
    x = image[None, None]
    points = torch.randn(1, 1, 4, 4, 4, device=image.device) * acquisition.bias
    x = x * torch.exp(F.interpolate(points, size=image.shape, mode="trilinear", align_corners=True))
    if acquisition.ghost is not None:
        x = _with_ghosts(x, *acquisition.ghost)
    x = _blur(x, [acquisition.blur + max(s / spacing - 1, 0) * 0.35 for s in acquisition.slices])
    if max(acquisition.slices) > spacing:
        size = [
            max(4, round(n / max(s / spacing, 1)))
            for n, s in zip(image.shape, acquisition.slices, strict=True)
        ]
        low = F.interpolate(x, size=size, mode="trilinear", align_corners=False)
        low = low + torch.randn_like(low) * acquisition.noise
        x = F.interpolate(low, size=image.shape, mode="trilinear", align_corners=False)
    else:
        x = x + torch.randn_like(x) * acquisition.noise
    if kept is not None:
        x = x * kept
    return normalize(x[0, 0]) ** acquisition.gamma


def _with_ghosts(x: Tensor, axis: int, count: int, strength: float) -> Tensor:
    """Faint copies of the image, shifted by parts of the field of view, as uneven echoes leave them."""
    step = max(1, x.shape[2 + axis] // count)
    return x + strength * (x.roll(step, 2 + axis) + x.roll(-step, 2 + axis))


def _blur(x: Tensor, sigmas: list[float]) -> Tensor:
    for axis, sigma in enumerate(sigmas):
        radius = max(1, math.ceil(2.5 * sigma))
        t = torch.arange(-radius, radius + 1, device=x.device)
        kernel = torch.exp(-0.5 * (t / sigma) ** 2)
        x = weighted(x[0], axis + 1, kernel / kernel.sum())[None]
    return x
