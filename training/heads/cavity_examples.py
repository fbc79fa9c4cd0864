"""Training examples of the cranial cavity in heads whose brains partly do not fill it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...models.errors import InputError
from ..synthesis.generator import Draw, Rendered
from .examples import Cascade


class Cavity(Cascade):
    """Examples of the cranial cavity in the box of the brain, as for the brain mask, with another distance.

    Parameters
    ----------
    args, more
        See :class:`~brainseg.training.heads.examples.Cascade`.

    Raises
    ------
    InputError
        If the maps have no cavity.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if any(cavity is None for cavity in self.generator.cavities):
            raise InputError(
                None,
                "the prepared arrays have no cranial cavity",
                "Prepare them again (brainseg train prepare), with a table that has the column cavity",
            )

    def _wanted(self, rendered: Rendered, draw: Draw) -> dict[str, Tensor]:
        """Return the distance (mm) to the inner surface of the skull, positive inside."""
        assert rendered.cavity is not None
        return {"distance": rendered.cavity[None]}
