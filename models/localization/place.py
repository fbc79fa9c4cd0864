"""Where the brain lies, as later stages need it again: written once, so that the coarse network runs once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..geometry.volume import Volume


@dataclass(frozen=True)
class Place:
    """The part of :class:`~brainseg.models.localization.head.Coarse` that places the boxes of networks.

    Attributes
    ----------
    distance : Volume, float32
        Signed distance to the brain's surface (mm), positive inside.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame of the training heads.
    """

    distance: Volume
    to_atlas: np.ndarray


def write(path: Path, found: Place) -> str:
    """Write a place, and return the path.

    Parameters
    ----------
    path : Path
        ``*.npz``.
    found : Place
        The place.
    """
    distance = found.distance
    with path.open("wb") as file:
        np.savez(file, distance=distance.data.numpy(), affine=distance.affine, to_atlas=found.to_atlas)
    return str(path)


def read(path: str | Path) -> Place:
    """Read what :func:`write` wrote: the same numbers.

    Parameters
    ----------
    path : path-like
        The file.
    """
    with np.load(path) as arrays:
        distance = Volume(torch.from_numpy(arrays["distance"]), arrays["affine"])
        return Place(distance, arrays["to_atlas"])
