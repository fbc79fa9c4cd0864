"""Losses of a network that predicts spatial gradients, both ways and at every scale.

Beside the losses of :mod:`brainseg.training.losses.registration` (of the displacement where they are of a
velocity) a recipe can name ``steps``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.velocity import identity, sample
from . import registration

LEAST = 9
"""Voxels along a side from which intensities are compared: windows are that large."""

WAYS = {"forward": (0, 1), "backward": (1, 0)}
"""What is moved onto what: 0 the moving image, 1 the fixed one."""


def steps(gradients: Tensor) -> Tensor:
    """Mean distance of predicted gradients from those of the identity, 0.5.

    Parameters
    ----------
    gradients : Tensor, shape (3, X, Y, Z)
        In (0, 1).
    """
    return (gradients - 0.5).abs().mean()


def pair_losses(
    out: dict[str, list[tuple[Tensor, Tensor]]],
    images: Tensor,
    maps: tuple[Tensor, Tensor],
    weights: dict[str, float],
) -> dict[str, Tensor]:
    """Every weighted loss of a recipe: mean over the ways and the batch, sum over the scales.

    Parameters
    ----------
    out : dict
        What :class:`brainseg.models.networks.gradient_net.GradientNet` gives; without ``backward`` one way
        counts.
    images : Tensor, shape (B, 2, X, Y, Z)
        Moving and fixed.
    maps : tuple of Tensor
        Their labels as maps (B, C, X, Y, Z).
    weights : dict of str to float
        By name; every scale counts half of the finer one.

    Raises
    ------
    ValueError
        If there is no loss of a name.
    """
    others = {name: weight for name, weight in weights.items() if name != "steps"}
    total: dict[str, Tensor] = {}
    for way, scales in out.items():
        source, target = WAYS[way]
        for level, (gradients, displacement) in enumerate(scales):
            small = [F.avg_pool3d(x, 2**level) if level else x for x in (images, *maps)]
            share = 0.5**level / (len(out) * len(images))
            for number, (there, bent) in enumerate(zip(displacement, gradients, strict=True)):
                x, y, z = there.shape[1:]
                where = identity((x, y, z), there) + there
                pictures, *shares = (stack[number] for stack in small)
                moved = sample(pictures[source : source + 1], where, "zeros")
                used = {
                    name: weight
                    for name, weight in others.items()
                    if name in registration.OF_LABELS
                    or name not in registration.ALIKE
                    or min(x, y, z) >= LEAST
                }
                found = registration.all_of(
                    used,
                    (sample(shares[source], where, "zeros"), shares[target]),
                    (moved, pictures[target : target + 1]),
                    there,
                    there,
                )
                if "steps" in weights:
                    found["steps"] = weights["steps"] * steps(bent)
                for name, value in found.items():
                    total[name] = total.get(name, 0) + share * value
    return total
