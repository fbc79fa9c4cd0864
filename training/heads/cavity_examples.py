"""Training examples of the cranial cavity, from what the network of the brain mask finds in a head."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import InputError
from ...models.intracranial.inputs import inputs
from ..core.example import Example
from .examples import Cascade, seen

GAMMA = 0.25
"""Standard deviation of the logarithm of a further gamma of repeated examples."""


class Cavity(Cascade):
    """Examples of the cranial cavity in the box of the brain.

    Every head is seen by the coarse network and by that of the brain mask, as in a run; what they find is the
    input. Since this takes longer than a training step, a head gives several examples: mirror images, and
    images of another gamma.

    Parameters
    ----------
    finder : Module or None
        Trained network of the brain mask, with the tasks ``mask`` and ``tissue``; examples cannot be drawn
        without it.
    args, more
        See :class:`~brainseg.training.heads.examples.Cascade`; ``repeat`` is the number of examples per head.

    Raises
    ------
    InputError
        If the maps have no cavity.
    """

    def __init__(self, finder: torch.nn.Module | None, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.finder = finder
        if any(cavity is None for cavity in self.generator.cavities):
            raise InputError(
                None,
                "the prepared arrays have no cranial cavity",
                "Prepare them again (brainseg train prepare), with a table that has the column cavity",
            )

    def examples(self, number: int | None = None) -> list[Example]:
        """Return the examples of a head of map ``number``, or of a random map."""
        draw = self.generator.draw(number)
        whole, coarse_center = self.coarse.example(draw=draw, near=1.0)
        x, prior, rendered = self.in_box(draw, self._context(whole), coarse_center)
        found = inputs(x, seen(self.finder, x, prior))
        assert rendered.cavity is not None
        distance = F.avg_pool3d(rendered.cavity[None], 2)
        out = [Example(found, None, {"distance": distance})]
        for _ in range(self.repeat - 1):
            out.append(Example(*_varied(found, distance)))
        return out


def _varied(found: Tensor, distance: Tensor) -> tuple[Tensor, None, dict[str, Tensor]]:
    """Return the input and the targets of another image of a head, half of them mirrored."""
    image = found[:, :1] ** float(torch.exp(GAMMA * torch.randn(())))
    found = torch.cat([image, found[:, 1:]], 1)
    if float(torch.rand(())) < 0.5:
        found, distance = found.flip(2), distance.flip(1)
        found[:, 1] *= -1
    return found, None, {"distance": distance}
