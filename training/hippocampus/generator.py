"""Crops around one hippocampus for training: T1w images with labels, deformed, with simulated acquisition.

Task 4 of the Medical Segmentation Decathlon (also of Learn2Reg) has crops around one hippocampus each, with
the labels 1 (anterior) and 2 (posterior). The side is unknown; a mirror image is one of the other side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.geometry.cropping import upsampled
from ...models.geometry.volume import Volume
from ...models.hippocampus.hippocampus import normalized
from ..core.example import Example
from ..synthesis.acquisition import acquire, draw_acquisition
from ..synthesis.config import GeneratorConfig
from ..synthesis.deformation import uniform
from ..synthesis.rotation import random_scaling, small_rotation

SEED = 2020
"""Random seed of the split."""

CLASSES = 3
"""Background, anterior, posterior."""


def split(names: list[str], seed: int = SEED) -> dict[str, list[str]]:
    """Return the cases for training, validation and test.

    ``validation`` and ``test`` have a tenth of the cases each. The split depends on the names, not on their
    order.

    Examples
    --------
    >>> parts = split([f"case{k:03d}" for k in range(200)])
    >>> {k: len(v) for k, v in parts.items()}
    {'training': 160, 'validation': 20, 'test': 20}
    """
    names = sorted(names)
    # The legacy generator, whose random numbers never change.
    mixed = [names[k] for k in np.random.RandomState(seed).permutation(len(names))]
    tenth = len(names) // 10
    return {
        "training": sorted(mixed[2 * tenth :]),
        "validation": sorted(mixed[:tenth]),
        "test": sorted(mixed[tenth : 2 * tenth]),
    }


def cases(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return image and labels of every case by name, from a folder with ``images`` and ``labels``."""
    found = {}
    for labels in sorted((folder / "labels").glob("*.nii.gz")):
        image = folder / "images" / labels.name
        if image.is_file():
            found[labels.name.removesuffix(".nii.gz")] = (image, labels)
    return found


@dataclass(frozen=True)
class CropConfig:
    """Ranges of the generator; angles in degrees, lengths in voxels."""

    rotation: float = 15.0
    scaling: float = 0.12
    anisotropy: float = 0.08
    shift: float = 4.0
    """Standard deviation of the center of the crop."""
    deformation: float = 2.5
    """Maximum standard deviation of control points 10 to 20 mm apart."""
    symmetric: bool = True
    """Whether pairs train in both directions."""
    plain: float = 0.0
    """Share of the draws without changes."""
    scan: GeneratorConfig = field(
        default_factory=lambda: GeneratorConfig(
            strip=0, deface=0, crop=0, low_resolution=0.2, slice_thickness=2.0, noise=10.0, gamma=0.25,
            bias=0.4, blur=(0.0, 0.4), ghost=0.05,
        )
    )  # fmt: skip
    """Ranges of the simulated acquisition."""


class CropGenerator:
    """Draws crops from prepared arrays.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.hippocampus.prepare.prepare`.
    config : CropConfig
        Ranges of the generator.
    device : str
        Device of the computations.
    """

    def __init__(self, path: Path, config: CropConfig, device: str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.images: list[Tensor] = []
        self.stacks: list[Tensor] = []
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            self.names = meta["names"]
            for k in range(meta["count"]):
                image, labels = (torch.from_numpy(arrays[f"{name}{k}"]) for name in ("image", "labels"))
                maps = [*((labels == c).float() for c in range(1, CLASSES)), torch.ones(image.shape)]
                self.stacks.append(torch.stack(maps).to(self.device))
                self.images.append(
                    upsampled(Volume(image.float(), np.eye(4))).data.clamp(min=0).to(self.device)
                )

    def __len__(self) -> int:
        return len(self.stacks)

    def render(
        self, number: int, shape: tuple[int, int, int], mirrored: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return intensities in [0, 1] and classes of a case in a box.

        Parameters
        ----------
        number : int
            Number of the case.
        shape : tuple of int
            Number of voxels (1 mm) of the box around the center of the case.
        mirrored : bool, optional
            Whether the case is mirrored; random by default.
        """
        c, stack = self.config, self.stacks[number]
        plain = uniform(0, 1) < c.plain
        turn, shift = torch.eye(3), _to_a_voxel(stack.shape[1:], shape)
        if not plain:
            turn = random_scaling(c.scaling, c.anisotropy) @ small_rotation(c.rotation)
            shift = torch.randn(3).clamp(-2, 2) * c.shift
            if uniform(0, 1) < 0.5 if mirrored is None else mirrored:
                turn[0] *= -1
        lines = [torch.arange(n, device=self.device) - (n - 1) / 2 for n in shape]
        points = torch.stack(torch.meshgrid(*lines, indexing="ij")).reshape(3, -1)
        where = turn.to(points) @ points + shift.to(points)[:, None]
        if not plain:
            n = int(torch.randint(4, 7, ()))
            bumps = torch.randn(1, 3, n, n, n, device=self.device) * uniform(0, c.deformation)
            bumps = F.interpolate(bumps, size=shape, mode="trilinear", align_corners=True)
            where = where + bumps.reshape(3, -1)
        half = (torch.tensor(stack.shape[1:], device=self.device)[:, None] - 1) / 2
        grid = (where / half).T.flip(-1).view(1, *shape, 3)
        found, image = (
            F.grid_sample(values[None], grid, padding_mode="zeros", align_corners=True)[0]
            for values in (stack, self.images[number][None])
        )
        background = 1 - found[:-1].sum(0, keepdim=True)
        classes = torch.cat([background, found[:-1]]).argmax(0)
        return self._scan(image[0], found[-1], plain), classes

    def _scan(self, image: Tensor, inside: Tensor, plain: bool) -> Tensor:
        kept = inside > 0.5
        if not plain:
            image = acquire(draw_acquisition(self.config.scan), image, 1.0, kept) * 255
        return normalized(image, kept)


def _to_a_voxel(have: tuple[int, ...], want: tuple[int, ...]) -> Tensor:
    """Return the shift of the center of a box that aligns its voxels with those of a case."""
    return torch.tensor([((h - w) % 2) / 2 for h, w in zip(have, want, strict=True)])


class Crops:
    """Examples of one hippocampus with its parts, for the segmentation network.

    Parameters
    ----------
    generator : CropGenerator
        Generator of the crops.
    shape, spacing : tuple of int, float
        Grid: number of voxels and voxel size (mm).
    """

    def __init__(self, generator: CropGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example of case ``number``, or of a random case."""
        g = self.generator
        number = int(torch.randint(len(g), ())) if number is None else number % len(g)
        image, classes = g.render(number, self.shape)
        return [Example(image[None, None], None, {"structure": classes[None]})]


class Pairs:
    """Examples of two hippocampi of one side, for the registration network.

    Parameters
    ----------
    generator : CropGenerator
        Generator of the crops.
    shape, spacing : tuple of int, float
        Grid: number of voxels and voxel size (mm).
    """

    def __init__(self, generator: CropGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing
        if len(generator) < 2:
            raise UsageError(None, "one case cannot be paired with another", "Give two or more")

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example of case ``number`` and the next, or of two random cases."""
        g = self.generator
        if number is None:
            both = torch.randint(len(g), (2,)).tolist()
        else:
            both = [number % len(g), (number + 1) % len(g)]
        mirrored = uniform(0, 1) < 0.5
        (moving, there), (fixed, here) = (g.render(k, self.shape, mirrored) for k in both)
        images = torch.stack([moving, fixed])[None]
        return [Example(images, None, {"moving": there[None], "fixed": here[None], "images": images})]
