"""Losses of a network that predicts spatial gradients in both directions and at every scale.

A recipe can use ``steps`` and the losses of :mod:`brainseg.training.losses.registration`, with the
displacement in place of the velocity.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.velocity import identity
from ...models.geometry.trilinear import sample
from . import registration

LEAST = 9
"""Minimum number of voxels along a side for losses of intensities, the size of their windows."""

WAYS = {"forward": (0, 1), "backward": (1, 0)}
"""Source and target of each direction: 0 is the moving image, 1 the fixed image."""


def steps(gradients: Tensor) -> Tensor:
    """Return the mean absolute difference of predicted gradients from the identity, 0.5.

    Parameters
    ----------
    gradients : Tensor, shape (3, X, Y, Z)
        Gradients in (0, 1).
    """
    return (gradients - 0.5).abs().mean()


def pair_losses(
    out: dict[str, list[tuple[Tensor, Tensor]]],
    images: Tensor,
    maps: tuple[Tensor, Tensor],
    weights: dict[str, float],
) -> dict[str, Tensor]:
    """Return every weighted loss: mean over the directions and the batch, sum over the scales.

    Parameters
    ----------
    out : dict
        Output of :class:`brainseg.models.networks.gradient_net.GradientNet`; ``backward`` is optional.
    images : Tensor, shape (B, 2, X, Y, Z)
        Moving and fixed image.
    maps : tuple of Tensor
        Label maps of both images, shape (B, C, X, Y, Z).
    weights : dict of str to float
        Weights by name; every scale counts half of the next finer scale.

    Raises
    ------
    ValueError
        If a loss is unknown.
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
