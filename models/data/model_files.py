"""Files of weights and their model cards, ``NAME.safetensors`` and ``NAME.json``, read without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import user

SUFFIX = ".safetensors"
"""Ending of files of weights."""

PIN = "#"
"""What separates a file and its SHA-256 in a reference."""


class ModelError(Exception):
    """Missing or damaged weights, or weights that do not match their card."""


def installed() -> list[str]:
    """Return the names of all weights: the bundled ones, then the user's own."""
    return list(user.every("weights", SUFFIX))


def title(name: str) -> str:
    """Return the name of weights without folder, ending and digest.

    Examples
    --------
    >>> title("segmentation"), title("/my/ibsr.safetensors#0a1b")
    ('segmentation', 'ibsr')
    """
    return Path(name.partition(PIN)[0]).name.removesuffix(SUFFIX)


def pinned(name: str) -> str:
    """Return a reference to weights with their SHA-256, which another file cannot satisfy.

    Nodes of a workflow get such references, so that they run again if the weights change.
    """
    return f"{path_of(name).absolute()}{PIN}{verified(name)['sha256']}"


def path_of(name: str) -> Path:
    """Return the path of weights.

    Parameters
    ----------
    name : str
        Path of a ``.safetensors`` file, or name of bundled weights or of the user's own; also a reference
        (:func:`pinned`).

    Raises
    ------
    ModelError
        If there are none; the message lists the available weights, or those in the folder of a path.
    """
    name = name.partition(PIN)[0]
    path = Path(name)
    if path.suffix == SUFFIX:
        if path.is_file():
            return path
    elif found := user.find("weights", f"{name}{SUFFIX}"):
        return found
    if not is_path(name):
        raise ModelError(f"no weights named {name}; available: {', '.join(installed())}")
    if path.suffix != SUFFIX:
        raise ModelError(f"no weights at {name}: the name of their file ends with {SUFFIX}")
    beside = sorted(p.name for p in path.parent.glob(f"*{SUFFIX}"))
    listed = f" (there are {', '.join(beside)})" if beside else ""
    raise ModelError(f"no weights at {path}: the file does not exist{listed}")


def is_path(name: str) -> bool:
    """Return whether a text means a file of weights, not a name.

    Examples
    --------
    >>> is_path("my.safetensors"), is_path("networks/my"), is_path("segmentation")
    (True, True, False)
    """
    return name.endswith(SUFFIX) or "/" in name


def read_card(name: str) -> dict[str, Any]:
    """Read the card of the weights ``name``."""
    path = path_of(name).with_suffix(".json")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"missing model card of the weights {path.stem}: {path}; copy it to the folder of the weights"
        ) from None
    except ValueError as error:
        raise ModelError(f"invalid JSON in the model card {path} ({error}); fetch it again") from None
    if not isinstance(card, dict) or not isinstance(card.get("architecture"), dict):
        raise ModelError(f"the model card {path} names no architecture; fetch it again")
    if "licence" in card:  # cards of networks trained with earlier versions
        card.setdefault("license", card.pop("licence"))
    return card


def voxels(card: Mapping[str, Any]) -> str:
    """Return the voxels that a network sees, in words.

    Examples
    --------
    >>> voxels({"spacing": 1.5}), voxels({"spacing": [1.0, 1.5, 1.0]}), voxels({"spacing": "acquired"})
    ('1.5 mm', '1 x 1.5 x 1 mm', 'the size of the image')
    """
    spacing = card.get("spacing", "?")
    if spacing == "acquired":
        return "the size of the image"
    sizes = spacing if isinstance(spacing, list | tuple) else [spacing]
    return " x ".join(f"{size:g}" if isinstance(size, int | float) else str(size) for size in sizes) + " mm"


def verified(name: str) -> dict[str, Any]:
    """Return the card of weights after checking that it is theirs.

    Raises
    ------
    ModelError
        If a file is missing, or the SHA-256 of the weights differs from that on the card.
    """
    path, card = path_of(name), read_card(name)
    state = path.stat()
    if card.get("sha256") != _digest(path, state.st_mtime_ns, state.st_size):
        raise ModelError(f"{path} does not match its model card (SHA-256 differs); fetch it again")
    wanted = name.partition(PIN)[2]
    if wanted and wanted != card["sha256"]:
        raise ModelError(f"{path} has changed since the run began; run the same command again")
    return card


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
