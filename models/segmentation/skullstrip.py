"""Skull-stripping by the population's method."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import BrainsegError, InputError
from ..geometry.volume import Volume
from ..localization import upright
from ..localization.upright import Turn
from ..networks.malloc import kept
from ..population import populations
from ..population.populations import Population
from ..preprocessing import mp2rage
from . import atlas_frame, precomputed, signed_distance
from .result import SkullStripResult

METHODS: dict[str, Callable[..., SkullStripResult]] = {
    "signed-distance": signed_distance.strip,
    "posterior": atlas_frame.strip,
}
"""Functions by the ``method`` of ``[methods.skullstrip]`` in a population's record."""

NO_FLUID = (
    "The segmentation sees no fluid around the given brain mask, so that volumes of fluid may be too large: "
    "the program's own search for the brain failed"
)
"""Note where the program finds no brain in a scan with a given mask."""

UPRIGHT = ("signed-distance",)
"""Methods that rely on the orientation in the header."""


def upright_model(population: str | Population) -> str:
    """Return the network that checks the orientation; empty for brains that may lie in any direction."""
    record = populations.resolve(population)
    return record.coarse if record.methods["skullstrip"].method in UPRIGHT else ""


def orientation(
    volume: Volume, population: str | Population = "adult", *, device: str = "cpu"
) -> Turn | None:
    """Return the orientation that fits the head, if that of the header does not.

    Parameters
    ----------
    volume : Volume
        The scan.
    population : str or Population
        Name or record of the population.
    device : str
        Device of the network.
    """
    model = upright_model(population)
    return upright.check(volume, model=model, device=device) if model else None


def around(
    volume: Volume,
    mask: Volume,
    population: str | Population = "adult",
    notes: list[str] | None = None,
) -> Volume | None:
    """Return a mask that was made elsewhere and fluid around it, as that of :func:`skullstrip` has it.

    Parameters
    ----------
    volume : Volume
        Scan.
    mask : Volume
        Brain mask on the same grid.
    population : str or Population
        Name or record of the population.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, uint8, or None
        Mask and fluid; None for a scan without a skull, and where the program has no such region.
    """
    if not populations.resolve(population).t1w_mask or precomputed.stripped(volume, mask):
        return None
    try:
        region = skullstrip(volume, population, mode="force").region
    except BrainsegError as error:
        if notes is not None:
            notes.append(f"{NO_FLUID} ({error.reason}).")
        return None
    return region and mask.with_data(((region.data > 0) | (mask.data > 0)).to(mask.data.dtype))


def skullstrip(
    volume: Volume, population: str | Population = "adult", *, mode: str = "auto", device: str = "cpu"
) -> SkullStripResult:
    """Return the brain mask of a scan.

    Parameters
    ----------
    volume : Volume
        Scan of any contrast, orientation and voxel size.
    population : str or Population
        Name or record of the population.
    mode : {'auto', 'skip', 'force'}
        ``auto`` detects a skull-stripped scan and uses its extent; ``skip`` assumes a skull-stripped scan,
        ``force`` a scan with a skull.
    device : str
        Device of the networks.

    Returns
    -------
    SkullStripResult
        Brain mask and notes.

    Raises
    ------
    InputError
        If the scan has no brain.
    """
    record = populations.resolve(population)
    try:
        with kept():
            return METHODS[record.methods["skullstrip"].method](volume, record, mode=mode, device=device)
    except InputError as error:
        if not mp2rage.is_noisy(volume):
            raise
        raise InputError(error.path or None, f"{error.reason}. {mp2rage.NOISE}", mp2rage.REMEDY) from None
