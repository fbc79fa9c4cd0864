"""Pairs of hippocampi after affine registration, the examples of the velocity network."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation import diffeomorphic
from ...models.deformation.velocity import identity
from ...models.errors import UsageError
from ...models.geometry.axes import triple
from ...models.geometry.cropping import centered_grid
from ...models.geometry.trilinear import sample
from ...models.geometry.volume import Volume
from ...models.hippocampus import hippocampus, registration
from ...models.hippocampus.hippocampus import Parts
from ..core.example import Example
from ..synthesis.acquisition import acquire, draw_acquisition
from ..synthesis.deformation import uniform
from ..synthesis.rotation import random_scaling, small_rotation
from .generator import CLASSES, CropConfig


class AlignedPairs:
    """Draws two hippocampi after affine registration and deforms both.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.hippocampus.prepare.prepare`.
    shape, spacing : tuple of int, float
        Grid of the network in the middle space: number of voxels and voxel size (mm).
    pairs : int
        Number of different pairs; their affines are computed once.
    rotation, scaling, anisotropy : float
        Common rotation (degrees) and relative scalings of both.
    residual : float
        Residual of the affine registration of each: degrees, percent and tenths of a voxel.
    deformation : float
        Maximum standard deviation (voxels) of control points about 12 voxels apart.
    scans : int
        Number of scans per case: the original, and others with noise, blur and another contrast, since the
        segmentation network is better on its own training images than on new ones.
    device : str
        Device of the examples, which are drawn on the CPU.
    """

    repeat = 1

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        spacing: float,
        *,
        pairs: int = 2000,
        rotation: float = 12.0,
        scaling: float = 0.1,
        anisotropy: float = 0.06,
        residual: float = 2.0,
        deformation: float = 1.0,
        scans: int = 1,
        device: str = "cpu",
    ) -> None:
        self.shape = triple(shape)
        self.spacing, self.device = spacing, device
        self.rotation, self.scaling, self.anisotropy = rotation, scaling, anisotropy
        self.residual, self.deformation = residual, deformation
        self.cases = _cases(path, scans)
        if len(self.cases) < 2:
            raise UsageError(path, "one case cannot be paired with another", "Give two or more")
        self.affines: dict[tuple[int, int], np.ndarray] = {}
        count, order = len(self.cases), random.Random(0)
        every = [(i, j) for i in range(count) for j in range(count) if i < j]
        self.pairs = order.sample(every, min(pairs, len(every)))

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example: case ``number`` and the next without changes, or a random pair with changes."""
        count = len(self.cases)
        if number is None:
            chosen = self.pairs[int(torch.randint(len(self.pairs), ()))]
        else:
            chosen = (number % count, (number + 1) % count)
        if chosen not in self.affines:
            moving, fixed = (self.cases[k][0][0] for k in chosen)
            self.affines[chosen] = registration.affine(moving, fixed)[0]
        a, b = (self.cases[k][0][0].labels for k in chosen)
        space = diffeomorphic.middle(self.affines[chosen], a, b, self.spacing, 0.0, 1)
        grid = centered_grid(space.grid, self.shape)
        common = None if number is not None else self._common()
        stacks, truths = [], []
        for k, place in zip(chosen, (space.to_moving, space.to_fixed), strict=True):
            scans, truth = self.cases[k]
            scan = 0 if number is not None else int(torch.randint(len(scans), ()))
            where = identity(self.shape, truth.data) if common is None else self._moved(common)
            what, parts = seen(scans[scan], truth, place @ grid.affine, where)
            stacks.append(what)
            truths.append(parts)
        order = [0, 1] if number is not None or uniform(0, 1) < 0.5 else [1, 0]
        x = torch.cat([stacks[k] for k in order])[None].to(self.device)
        images = torch.stack([stacks[k][2] for k in order])[None].to(self.device)
        labels = [truths[k][None].to(self.device) for k in order]
        return [Example(x, None, {"moving": labels[0], "fixed": labels[1], "images": images})]

    def _common(self) -> Tensor:
        """Return the common matrix (3, 3) of both, in half of the draws with a mirror."""
        turn = random_scaling(self.scaling, self.anisotropy) @ small_rotation(self.rotation)
        if uniform(0, 1) < 0.5:
            turn[0] *= -1
        return turn

    def _moved(self, common: Tensor) -> Tensor:
        """Return positions of the middle grid after common matrix, residual affine and deformation."""
        own = random_scaling(self.residual / 100, self.residual / 100) @ small_rotation(self.residual)
        shift = torch.randn(3).clamp(-2, 2) * self.residual / 10
        index = identity(self.shape, common)
        half = (torch.tensor(self.shape).view(3, 1, 1, 1) - 1) / 2
        where = torch.einsum("ij,jxyz->ixyz", own @ common, index - half) + half
        coarse = [max(3, round(n / 12)) for n in self.shape]
        bumps = torch.randn(1, 3, *coarse) * uniform(0, self.deformation)
        where = where + F.interpolate(bumps, size=self.shape, mode="trilinear", align_corners=True)[0]
        return where + shift.view(3, 1, 1, 1)


def seen(parts: Parts, truth: Volume, affine: np.ndarray, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input channels of a hippocampus and its label maps on a grid.

    Parameters
    ----------
    parts : Parts
        Result of the segmentation.
    truth : Volume
        Label maps.
    affine : ndarray, shape (4, 4)
        Matrix from voxels of the grid to mm of the hippocampus.
    where : Tensor, shape (3, X, Y, Z)
        Positions (voxels of the grid); everything is interpolated once, as in the registration.
    """

    def at(values: Tensor, own: np.ndarray) -> Tensor:
        m = torch.from_numpy(np.linalg.inv(own) @ affine).to(where)
        index = torch.einsum("ij,jxyz->ixyz", m[:3, :3], where) + m[:3, 3].view(3, 1, 1, 1)
        return sample(values, index, "zeros")

    found = at(
        torch.cat([parts.probabilities.data, parts.image.data[None], parts.inside.data[None]]),
        parts.image.affine,
    )
    return registration.channels(found[:2], found[2], found[3]), at(truth.data, truth.affine)


def _cases(path: Path, count: int) -> list[tuple[list[Parts], Volume]]:
    """Return the segmentation of ``count`` scans of every case, and the label maps."""
    found, config = [], CropConfig().scan
    with np.load(path) as arrays:
        for k in range(json.loads(str(arrays["meta"]))["count"]):
            image, labels = (torch.from_numpy(arrays[f"{name}{k}"]) for name in ("image", "labels"))
            maps = torch.stack([labels == c for c in range(1, CLASSES)]).float()
            scans = [image.float()]
            whole = torch.ones(image.shape, dtype=torch.bool)
            scans += [acquire(draw_acquisition(config), scans[0], 1.0, whole) for _ in range(count - 1)]
            parts = [hippocampus.find(Volume(scan, np.eye(4))) for scan in scans]
            found.append((parts, Volume(maps, np.eye(4))))
    return found
