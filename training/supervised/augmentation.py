"""Random changes of images with labels, by MONAI (extra ``train``)."""

from __future__ import annotations

import math
from typing import Any

import monai.transforms as mt
import torch
from torch import Tensor

from .ranges import SPATIAL, Ranges


class Augmentation:
    """Changes images with labels at random; the random numbers are those of torch.

    Parameters
    ----------
    ranges : Ranges
        Ranges of the changes.
    images : int
        Number of the first channels that are images; others, such as coordinates, keep their values.
    """

    def __init__(self, ranges: Ranges, images: int) -> None:
        self.ranges, self.images = ranges, images

    def __call__(self, x: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed images (C, X, Y, Z) and labels (X, Y, Z); a side of one voxel is a slice."""
        flat = x.shape[-1] == 1
        both = {"x": x[..., 0] if flat else x, "truth": (truth[..., 0] if flat else truth)[None].float()}
        seed = int(torch.randint(2**31, ()))
        for transform in self._transforms(flat):
            transform.set_random_state(seed)
            both = transform(both)
        out, labels = torch.as_tensor(both["x"]), torch.as_tensor(both["truth"])[0].round().long()
        images = self._intensities(out[: self.images], seed, flat)
        out = torch.cat([images, out[self.images :]])
        return (out[..., None], labels[..., None]) if flat else (out, labels)

    def _transforms(self, flat: bool) -> list[Any]:
        """Return the changes of shape."""
        ranges = self.ranges
        if not any(getattr(ranges, name) for name in SPATIAL):
            return []
        angle = math.radians(ranges.rotation)
        axes = 2 if flat else 3
        affine = mt.RandAffined(
            keys=["x", "truth"],
            prob=0.9,
            rotate_range=(angle,) * (1 if flat else 3),
            scale_range=(ranges.scaling,) * axes,
            shear_range=(ranges.shear,) * (2 if flat else 6),
            mode=["bilinear", "nearest"],
            padding_mode="zeros",
        )
        return [affine]

    def _intensities(self, images: Tensor, seed: int, flat: bool) -> Tensor:
        """Return images with a bias field, another contrast and noise."""
        ranges, inside = self.ranges, images != 0
        transforms: list[Any] = []
        if ranges.bias:
            transforms.append(mt.RandBiasField(degree=3, coeff_range=(-0.15, 0.15), prob=ranges.bias))
        if ranges.gamma:
            transforms.append(mt.RandAdjustContrast(prob=ranges.gamma, gamma=(0.7, 1.5)))
        low = images.amin()
        out = images - low  # both need values above zero
        for transform in transforms:
            transform.set_random_state(seed)
            out = torch.as_tensor(transform(out))
        out = out + low
        if ranges.noise:
            out = out + torch.randn_like(out) * ranges.noise * torch.rand(())
        return torch.where(inside, out, 0.0)
