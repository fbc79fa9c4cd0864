"""Prepared arrays: the npz files that a training run reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...models.errors import InputError
from ...models.io import atomic

DISTANCE_UNIT = 0.25
"""Unit (mm) of the stored signed distance."""


def check_kind(meta: dict[str, Any], wanted: str, path: Path) -> None:
    """Refuse prepared arrays of another kind.

    Parameters
    ----------
    meta : dict of str to Any
        Metadata of the arrays.
    wanted : {'heads', 'fetuses'}
        Required kind.
    path : Path
        File of the arrays, for the error message.

    Raises
    ------
    InputError
        If the arrays are of another kind.
    """
    kind = "heads" if "centroids" in meta else "fetuses" if "weeks" in meta else "another kind"
    if kind != wanted:
        how = {"heads": "brainseg train prepare OUT MAP ...", "fetuses": "brainseg train fetal --maps FOLDER"}
        raise InputError(
            path,
            f"the arrays are of {kind}, but arrays of {wanted} are needed",
            f"Give a recipe for {kind} (synth preview --recipe), or prepare arrays with: {how[wanted]}",
        )


def write_arrays(path: Path, meta: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write prepared arrays, never a partial file.

    Parameters
    ----------
    path : Path
        File to write (npz).
    meta : mapping of str to Any
        Metadata, stored as JSON.
    arrays : dict of str to ndarray
        Arrays by name.
    """
    stored: dict[str, Any] = {"meta": np.array(json.dumps(meta))} | arrays
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **stored)
