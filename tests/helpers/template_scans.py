"""Scans made from the ICBM152 template: stripped as it is, in a head of shells, and stored otherwise."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from brainseg.bidsapp.demo import template_image
from brainseg.models.geometry.volume import Grid, Volume, lattice, resample
from brainseg.models.registration.result import Anatomy
from brainseg.models.templates import bundled


def template() -> Volume:
    """The template without most of its empty margin."""
    image = template_image()
    whole = Volume(
        torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32)), np.asarray(image.affine, float)
    )
    found = [np.nonzero((whole.data > 0).numpy().any(axes))[0][[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))]
    start = tuple(int(low) - 6 for low, _ in found)
    return whole.crop(start, tuple(int(high - low) + 13 for low, high in found))


def brain_of(scan: Volume) -> Volume:
    """What the template holds."""
    return scan.with_data(
        torch.from_numpy(ndimage.binary_fill_holes((scan.data > 0).numpy())).to(torch.uint8)
    )


def headed(scan: Volume) -> Volume:
    """The template in fluid, dark bone and bright scalp, with a neck, and noise all over."""
    wide = scan.crop(
        (-22, -22, -42), tuple(n + m for n, m in zip(scan.grid.shape, (44, 44, 64), strict=True))
    )
    brain = brain_of(wide).data.numpy() > 0
    rng = np.random.default_rng(0)
    away = ndimage.distance_transform_edt(~brain)
    out = wide.data.numpy().copy()
    bright = float(np.median(out[brain]))
    uneven = 1 + 0.3 * ndimage.zoom(rng.standard_normal((5, 6, 5)), np.array(out.shape) / (5, 6, 5), order=1)
    out[(away > 0) & (away <= 3)] = 0.25 * bright
    out[(away > 3) & (away <= 8)] = 0.12 * bright
    scalp = (away > 8) & (away <= 14 + 2 * uneven)
    x, y, _ = np.meshgrid(*[np.arange(n) for n in out.shape], indexing="ij")
    neck = (np.hypot(x - out.shape[0] / 2, y - out.shape[1] * 0.4) < 45) & (away > 8)
    neck &= np.arange(out.shape[2]) < 45
    out[scalp | neck] = (0.9 * bright * uneven)[scalp | neck]
    out = np.abs(out + rng.normal(0, 0.02 * bright, out.shape))
    return wide.with_data(torch.from_numpy(out.astype(np.float32)))


def reoriented(scan: Volume, codes: str = "PIL") -> Volume:
    """The same scan, its axes stored in another order and direction."""
    image = nib.Nifti1Image(scan.data.numpy(), scan.affine)
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(scan.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    turned = image.as_reoriented(change)
    return Volume(torch.from_numpy(np.array(turned.dataobj)), turned.affine)


def padded(scan: Volume, before=(11, 3, 20), after=(4, 17, 9)) -> Volume:
    """The same scan in a larger field of view, with nothing in the margin."""
    shape = tuple(n + a + b for n, a, b in zip(scan.grid.shape, before, after, strict=True))
    return scan.crop(tuple(-b for b in before), shape)


def resampled(scan: Volume, spacing=(0.8, 0.8, 0.8)) -> Volume:
    """The scan on a grid of other voxels by splines, what was empty still empty."""
    shape = tuple(
        int(np.ceil(n * old / new))
        for n, old, new in zip(scan.grid.shape, scan.grid.spacing, spacing, strict=True)
    )
    affine = np.diag([*spacing, 1.0])
    center = scan.affine[:3, :3] @ ((np.array(scan.grid.shape) - 1) / 2) + scan.affine[:3, 3]
    affine[:3, 3] = center - np.array(spacing) * (np.array(shape) - 1) / 2
    grid = Grid(shape, affine)
    out = resample(scan, grid, mode="cubic")
    there = resample(scan.with_data((scan.data > 0).to(torch.uint8)), grid, mode="nearest").data > 0
    least = float(scan.data[scan.data > 0].min())
    return out.with_data(torch.where(there, out.data.clamp(min=least), 0.0))


def labeled(spacing: float = 2.0) -> tuple[Volume, Volume]:
    """The stripped default template, and both sides' cerebrum and cerebellum in FreeSurfer's numbers."""
    known = bundled.load(bundled.DEFAULT)
    grid = lattice(known.image, spacing)
    scan = resample(known.image, grid)
    inside = (resample(known.mask.with_data(known.mask.data.float()), grid).data > 0.5).numpy()
    x, y, z = grid.affine[:3, :3] @ np.indices(grid.shape).reshape(3, -1) + grid.affine[:3, 3:]
    deep = ndimage.distance_transform_edt(inside, grid.spacing).ravel() > 8
    cerebellum, right = (z < -15) & (y < -40), x > 0
    truth = np.where(cerebellum, np.where(deep, 7, 8), np.where(deep, 2, 3))
    truth = (np.where(right, truth + 39, truth).reshape(grid.shape) * inside).astype(np.int16)
    masked = np.where(inside, scan.data.numpy(), 0)
    return scan.with_data(torch.from_numpy(masked)), scan.with_data(torch.from_numpy(truth))


def processed(move: np.ndarray) -> SimpleNamespace:
    """The chain's result of the default template, moved by a matrix, with a box as left hippocampus."""
    known = bundled.load(bundled.DEFAULT)
    structures = torch.zeros(known.mask.grid.shape, dtype=torch.int16)
    where = np.linalg.inv(known.mask.affine) @ [*known.centroids[17], 1]
    x, y, z = np.rint(where[:3]).astype(int)
    structures[x - 4 : x + 5, y - 4 : y + 5, z - 4 : z + 5] = 17
    at = lambda data: Volume(data, move @ known.mask.affine)  # noqa: E731
    centroids = {k: tuple(np.array(c) + move[:3, 3]) for k, c in known.centroids.items()}
    image = at(known.mask.data.float() * 100 + 50 * (structures == 17))
    return SimpleNamespace(anatomy=Anatomy(image, at(known.mask.data), at(structures), centroids, {}))
