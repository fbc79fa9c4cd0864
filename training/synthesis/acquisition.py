"""Image acquisition: bias field, ghosts, slices, noise, and the removal of skull or face."""

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
    """Parameters of the acquisition of one head.

    Attributes
    ----------
    strip_at : float or None
        Signed distance (mm) to the surface of the brain below which everything is removed.
    uneven : float
        Standard deviation (mm) of the local variation of that distance.
    cut : Tensor or None
        Plane (a, b, c, d) in atlas mm: voxels with a x + b y + c z > d are removed, the face or, in a
        stripped head, the neck.
    field : tuple or None
        Axis, and minimum and maximum world coordinate (mm) of the field of view along it.
    slices : tuple of float
        Voxel size (mm) along each axis.
    ghost : tuple or None
        Axis, number of ghosts in the field of view, relative intensity.
    noisy_background : bool
        Whether the background is noise over the whole range of intensities.
    noise, gamma, bias, blur : float
        Standard deviation of the noise, exponent, standard deviation of the logarithm of the bias field, and
        of the blur (voxels).
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
    noisy_background: bool = False


def draw_acquisition(config: GeneratorConfig) -> Acquisition:
    """Return random parameters of an acquisition."""
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
        # No random number is drawn without the option: other draws stay the same.
        noisy_background=config.mp2rage > 0 and strip_at is None and uniform(0, 1) < config.mp2rage,
    )


def _slices(config: GeneratorConfig) -> tuple[float, float, float]:
    """Return random voxel sizes (mm): one axis thicker than the others, or all axes a little."""
    thick = 1 + (config.slice_thickness - 1) * uniform(0, 1) ** 2
    slices = [1.0, 1.0, 1.0]
    if uniform(0, 1) < config.low_resolution:
        if uniform(0, 1) < 0.4:
            slices = [min(thick, 2.5)] * 3
        else:
            slices[integer(0, 3)] = thick
    return slices[0], slices[1], slices[2]


def visible(acquisition: Acquisition, line: list[Tensor]) -> Tensor | None:
    """Return the field of view on a grid.

    Parameters
    ----------
    acquisition : Acquisition
        Parameters of the acquisition.
    line : list of Tensor
        World coordinates (mm) of the grid along each axis.

    Returns
    -------
    Tensor of bool or None
        Field of view, in a shape that broadcasts to the grid; None if it covers everything.
    """
    if acquisition.field is None:
        return None
    axis, low, high = acquisition.field
    shape = [1, 1, 1]
    shape[axis] = -1
    return ((line[axis] > low) & (line[axis] < high)).view(shape)


def uncut(acquisition: Acquisition, to_atlas: Tensor, line: list[Tensor]) -> Tensor | None:
    """Return the voxels of a grid that the cut keeps.

    Parameters
    ----------
    acquisition : Acquisition
        Parameters of the acquisition.
    to_atlas : Tensor, shape (3, 3)
        Matrix from world mm to atlas mm.
    line : list of Tensor
        World coordinates (mm) of the grid along each axis.

    Returns
    -------
    Tensor of bool, shape (X, Y, Z), or None
        Voxels that are kept; None without a cut.
    """
    if acquisition.cut is None:
        return None
    height = linear((acquisition.cut[:3] @ to_atlas)[None], line)[0]
    return height < float(acquisition.cut[3])


def acquire(acquisition: Acquisition, image: Tensor, spacing: float, kept: Tensor | None) -> Tensor:
    """Return an image after bias field, ghosts, resolution, noise, normalization and gamma.

    Parameters
    ----------
    acquisition : Acquisition
        Parameters of the acquisition.
    image : Tensor, shape (X, Y, Z)
        Intensities.
    spacing : float
        Voxel size (mm).
    kept : Tensor of bool or None
        Voxels that are left after stripping and cropping.
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


def with_noisy_background(image: Tensor, background: Tensor) -> Tensor:
    """Return an image whose background is noise over the whole range, as in MP2RAGE UNI images.

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Intensities in [0, 1].
    background : Tensor of bool, shape (X, Y, Z)
        Voxels without signal.
    """
    return torch.where(background, torch.rand_like(image), image)


def _with_ghosts(x: Tensor, axis: int, count: int, strength: float) -> Tensor:
    """Return an image with faint copies, shifted by a part of the field of view."""
    step = max(1, x.shape[2 + axis] // count)
    return x + strength * (x.roll(step, 2 + axis) + x.roll(-step, 2 + axis))


def _blur(x: Tensor, sigmas: list[float]) -> Tensor:
    for axis, sigma in enumerate(sigmas):
        radius = max(1, math.ceil(2.5 * sigma))
        t = torch.arange(-radius, radius + 1, device=x.device)
        kernel = torch.exp(-0.5 * (t / sigma) ** 2)
        x = weighted(x[0], axis + 1, kernel / kernel.sum())[None]
    return x
