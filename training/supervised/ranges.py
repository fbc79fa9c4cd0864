"""Ranges of the random changes of images with labels."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Ranges:
    """Ranges of the changes, the keys of ``generator`` in a recipe; 0 leaves one out.

    Attributes
    ----------
    flip : float
        Probability of a mirror image, left to right; labels of both sides change places.
    rotation : float
        Largest rotation (degrees).
    scaling : float
        Largest relative change of size.
    shear : float
        Largest shear.
    bias : float
        Probability of a bias field.
    gamma : float
        Probability of another contrast: a power between 0.7 and 1.5.
    noise : float
        Largest standard deviation of noise, in units of the normalized intensities.
    """

    flip: float = 0.5
    rotation: float = 10.0
    scaling: float = 0.1
    shear: float = 0.0
    bias: float = 0.3
    gamma: float = 0.3
    noise: float = 0.1


NAMES = frozenset(field.name for field in fields(Ranges))
"""Names of the changes."""

SPATIAL = ("rotation", "scaling", "shear")
"""Changes of shape."""
