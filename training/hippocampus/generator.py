"""Crops about one hippocampus for training: real T1w images with their labels, deformed and scanned anew.

The Medical Segmentation Decathlon's task 4 (Learn2Reg's too) gives images of one hippocampus each, cut out
about it, with the labels 1 anterior and 2 posterior. Which side it is nobody wrote down; a mirror image is
one of the other side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.geometry.cropping import doubled
from ...models.geometry.volume import Volume
from ...models.hippocampus.hippocampus import normalized
from ..core.example import Example
from ..synthesis.acquisition import acquire, draw_acquisition
from ..synthesis.config import GeneratorConfig
from ..synthesis.deformation import uniform
from ..synthesis.rotation import random_scaling, small_rotation

SEED = 2020
"""Of the split."""

CLASSES = 3
"""Background, anterior, posterior."""


def split(names: list[str], seed: int = SEED) -> dict[str, list[str]]:
    """Which cases train, which choose between methods and which are kept for the last table.

    A tenth each for ``validation`` and ``test``; the same names give the same parts, in whatever order they
    come.

    Examples
    --------
    >>> parts = split([f"case{k:03d}" for k in range(200)])
    >>> {k: len(v) for k, v in parts.items()}
    {'training': 160, 'validation': 20, 'test': 20}
    """
    names = sorted(names)
    # The legacy generator: its numbers are promised never to change.
    mixed = [names[k] for k in np.random.RandomState(seed).permutation(len(names))]
    tenth = len(names) // 10
    return {
        "training": sorted(mixed[2 * tenth :]),
        "validation": sorted(mixed[:tenth]),
        "test": sorted(mixed[tenth : 2 * tenth]),
    }


def cases(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and labels of every case in a folder with ``images`` and ``labels``, by name."""
    found = {}
    for labels in sorted((folder / "labels").glob("*.nii.gz")):
        image = folder / "images" / labels.name
        if image.is_file():
            found[labels.name.removesuffix(".nii.gz")] = (image, labels)
    return found


@dataclass(frozen=True)
class CropConfig:
    """Ranges of the draws; angles in degrees, lengths in voxels."""

    rotation: float = 15.0
    scaling: float = 0.12
    anisotropy: float = 0.08
    shift: float = 4.0
    """Standard deviation of where the crop's middle lies."""
    deformation: float = 2.5
    """Largest standard deviation of control points 10 to 20 mm apart."""
    symmetric: bool = True
    """Whether pairs train both ways."""
    plain: float = 0.0
    """Share of the draws that are left as they are."""
    scan: GeneratorConfig = field(
        default_factory=lambda: GeneratorConfig(
            strip=0, deface=0, crop=0, low_resolution=0.2, slice_thickness=2.0, noise=10.0, gamma=0.25,
            bias=0.4, blur=(0.0, 0.4), ghost=0.05,
        )
    )  # fmt: skip
    """What the scanner does."""


class CropGenerator:
    """Draws crops from prepared arrays.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.hippocampus.prepare.prepare`.
    config : CropConfig
        Ranges.
    device : str
        Where everything is computed.
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
                    doubled(Volume(image.float(), np.eye(4))).data.clamp(min=0).to(self.device)
                )

    def __len__(self) -> int:
        return len(self.stacks)

    def render(
        self, number: int, shape: tuple[int, int, int], mirrored: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """A case in a box of ``shape``: intensities in [0, 1] and classes.

        Parameters
        ----------
        number : int
            The case.
        shape : tuple of int
            Voxels of 1 mm about its middle.
        mirrored : bool, optional
            Whether it is the other side's; drawn if not given.
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
    """What the middle of a box is moved by, so that its voxels are those of a case."""
    return torch.tensor([((h - w) % 2) / 2 for h, w in zip(have, want, strict=True)])


class Crops:
    """One hippocampus and its parts: what the segmentation network learns from."""

    def __init__(self, generator: CropGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """The given case, or any; one example."""
        g = self.generator
        number = int(torch.randint(len(g), ())) if number is None else number % len(g)
        image, classes = g.render(number, self.shape)
        return [Example(image[None, None], None, {"structure": classes[None]})]


class Pairs:
    """Two hippocampi of one side: what the registration network learns from."""

    def __init__(self, generator: CropGenerator, shape, spacing: float) -> None:
        self.generator, self.shape, self.spacing = generator, tuple(shape), spacing

    def examples(self, number: int | None = None) -> list[Example]:
        """Any two cases, or the given one and the next; one example."""
        g = self.generator
        if number is None:
            both = torch.randint(len(g), (2,)).tolist()
        else:
            both = [number % len(g), (number + 1) % len(g)]
        mirrored = uniform(0, 1) < 0.5
        (moving, there), (fixed, here) = (g.render(k, self.shape, mirrored) for k in both)
        images = torch.stack([moving, fixed])[None]
        return [Example(images, None, {"moving": there[None], "fixed": here[None], "images": images})]
