"""Prepared arrays: the files that a training run reads, with nothing but numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...models.errors import InputError

DISTANCE_UNIT = 0.25
"""Millimetres in one step of the stored signed distance."""


def check_kind(meta: dict[str, Any], wanted: str, path: Path) -> None:
    """Refuse prepared arrays of another kind than ``heads`` or ``fetuses``.

    Raises
    ------
    InputError
        If they are not what is wanted.
    """
    kind = "heads" if "centroids" in meta else "fetuses" if "weeks" in meta else "something else"
    if kind != wanted:
        how = {"heads": "brainseg train prepare OUT MAP ...", "fetuses": "brainseg train fetal --maps FOLDER"}
        raise InputError(
            path,
            f"these arrays are of {kind}, and {wanted} are needed",
            f"Name a recipe for them (--recipe in synth preview), or make them with: {how[wanted]}",
        )
