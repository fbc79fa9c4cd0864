"""Crops of hippocampi, and the network that registers them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....models.deformation.warp import Warp
from ....models.errors import InputError, MissingFileError
from ....models.geometry.volume import Volume
from ....models.hippocampus import hippocampus, registration
from ....models.hippocampus.hippocampus import Parts
from ....models.networks import gradient_net, purpose, zoo
from ..scans import read_noted

LEAST_MM = 10.0
"""Smallest field of view of a crop (mm)."""


@dataclass(frozen=True)
class Crop:
    """An image around one hippocampus.

    Attributes
    ----------
    path : Path
        Its file.
    image : Volume
        The image.
    parts : Parts or None
        Its parts, where the registration needs them.
    """

    path: Path
    image: Volume
    parts: Parts | None = None


@dataclass(frozen=True)
class Registered:
    """A registration of two crops.

    Attributes
    ----------
    forward : Warp
        Resamples the moving image onto the fixed one.
    inverse : Warp or None
        The other direction, where the network has one.
    error_mm : float or None
        Median distance (mm) of the parts after the affine registration.
    """

    forward: Warp
    inverse: Warp | None = None
    error_mm: float | None = None


def network(chosen: str | None) -> tuple[str, Any]:
    """Return the name of the weights and their network.

    Raises
    ------
    MissingFileError
        If there are none.
    UsageError
        If they do something else.
    """
    name = chosen or registration.NETWORK
    try:
        purpose.check(name, "hippocampus registration")
        return name, zoo.load(name).network
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None


def is_gradient(found: Any) -> bool:
    """Return whether a network is one of Estienne et al., which needs no parts and has no inverse."""
    return isinstance(found, gradient_net.GradientNet)


def image(path: str | Path) -> Volume:
    """Return the image of a crop."""
    return read_noted(path, least_mm=LEAST_MM)


def read(path: str | Path, found: Any, device: str) -> Crop:
    """Read a crop, and segment its parts if the network needs them."""
    volume = image(path)
    parts = None if is_gradient(found) else hippocampus.find(volume, device=device)
    return Crop(Path(path), volume, parts)


def register(moving: Crop, fixed: Crop, name: str, found: Any, device: str) -> Registered:
    """Register two crops.

    Raises
    ------
    InputError
        If one has no hippocampus.
    """
    if moving.parts is None or fixed.parts is None:
        crops = hippocampus.upright(moving.image), hippocampus.upright(fixed.image)
        return Registered(gradient_net.align(found, crops[0], crops[1]))
    try:
        result = registration.register(moving.parts, fixed.parts, network=name, device=device)
    except InputError as error:
        raise InputError(f"{moving.path}, {fixed.path}", error.reason, error.remedy) from None
    return Registered(result.forward, result.inverse, result.error_mm)
