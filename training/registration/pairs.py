"""Pairs of synthetic brains in the middle space, the examples of a registration network."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.diffeomorphic import shares
from ...models.deformation.velocity import identity
from ...models.geometry.axes import triple
from ...models.geometry.trilinear import sample
from ...models.registration import features
from ..core.example import Example
from ..synthesis.generator import Draw, HeadGenerator

TISSUE_LEVELS = {2: 1.0, 7: 1.0, 16: 1.0, 28: 0.9, 4: 0.15, 5: 0.15, 14: 0.15, 15: 0.15, 24: 0.15}
"""Intensities of the image of tissues, used if contrasts differ; other structures are gray."""


class BrainPairs:
    """Draws some heads and makes an example of every pair.

    Parameters
    ----------
    generator : HeadGenerator
        Generator of the heads; its ``rotation`` and ``scaling`` are the residual of an affine registration.
    shape, spacing : tuple of int, float
        Grid of the network: number of voxels and voxel size (mm).
    heads : int
        Number of heads per draw.
    error : float
        Standard deviation (voxels) of the displacement of the input maps, as a segmentation error.
    pictures : dict of str to float
        Share of the examples with intensities of one ``contrast``, of the ``tissues``, or without
        intensities (``none``).
    """

    def __init__(
        self,
        generator: HeadGenerator,
        shape: tuple[int, int, int],
        spacing: float,
        heads: int = 4,
        error: float = 0.2,
        pictures: dict[str, float] | None = None,
    ) -> None:
        self.generator, self.spacing = generator, spacing
        self.shape = triple(shape)
        self.heads, self.error = heads, error
        self.pictures = pictures or {"contrast": 0.7, "tissues": 0.15, "none": 0.15}
        self.repeat = heads * (heads - 1) // 2
        source = generator.source
        names = [(int(s), int(side)) for s, side in zip(source.structure, source.side, strict=True)]
        kept = [name for name in dict.fromkeys(names) if name[0] not in (0, 24)]
        other = len(kept)
        self.classes = kept
        device = generator.device
        self.class_of = torch.tensor([kept.index(n) if n in kept else other for n in names], device=device)
        flipped = [(s, 1 - side if side >= 0 else side) for s, side in names]
        self.mirrored_of = torch.tensor(
            [kept.index(n) if n in kept else other for n in flipped], device=device
        )
        group = {s: k for k, members in enumerate(features.GROUPS) for s in members}
        every = [s for s, _ in [*kept, (0, 0)]]
        self.group_of = torch.tensor([group.get(s, len(features.GROUPS)) for s in every], device=device)
        self.level_of = torch.tensor([TISSUE_LEVELS.get(s, 0.65) for s in every], device=device)
        self.level_of[-1] = 0.0

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example per pair of heads, of the maps from ``number`` on or of random maps."""
        count = len(self.generator.maps)
        rounds = math.ceil(self.heads / count)
        first = torch.cat([torch.randperm(count) for _ in range(rounds)])[: self.heads]
        first = first if number is None else torch.arange(self.heads) + number
        draws = [self.generator.draw(int(k)) for k in first]
        kinds = list(self.pictures)
        kind = kinds[int(torch.multinomial(torch.tensor(list(self.pictures.values())), 1))]
        seen = [self._brain(replace(d, contrast=draws[0].contrast), kind) for d in draws]
        out = []
        for (a, labels_a), (b, labels_b) in combinations(seen, 2):
            images = torch.stack([a[-2], b[-2]])
            targets = {"moving": labels_a[None], "fixed": labels_b[None], "images": images[None]}
            out.append(Example(torch.cat([a, b])[None], None, targets))
        return out

    def _brain(self, draw: Draw, kind: str) -> tuple[Tensor, Tensor]:
        """Return the input channels of a brain, and the probability maps of its structures."""
        fine = triple(2 * n for n in self.shape)
        rendered = self.generator.render(draw, (0.0, 0.0, 0.0), fine, self.spacing / 2)
        table = self.mirrored_of if draw.mirrored else self.class_of
        position = table[rendered.labels.long()]
        truth = shares(position, len(self.classes) + 1)[:-1]
        groups = truth.new_zeros(len(features.GROUPS) + 1, *self.shape)
        groups.index_add_(0, self.group_of[:-1], truth)
        channels = [self._displaced(groups[:-1]), truth.new_zeros(2, *self.shape)]
        if kind != "none":
            brain = (rendered.distance > 0).float()
            picture = rendered.image if kind == "contrast" else self.level_of[position]
            values = torch.cat(features.intensities(picture * brain, brain))
            channels[1] = F.avg_pool3d(values, 2)
        return torch.cat(channels), truth

    def _displaced(self, maps: Tensor) -> Tensor:
        """Return maps with random displacements of the borders."""
        coarse = [max(2, n // 3) for n in self.shape]
        noise = torch.randn(1, 3, *coarse, device=maps.device)
        shift = F.interpolate(noise, size=self.shape, mode="trilinear")[0]
        return sample(maps, identity(self.shape, maps) + self.error * 1.5 * shift)
