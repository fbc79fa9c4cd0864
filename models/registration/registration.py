"""Registration of two brains, or of a brain to a template: affine, then diffeomorphic, of any contrast."""

from __future__ import annotations

from dataclasses import replace

from ..deformation.diffeomorphic import Options
from ..networks.malloc import kept
from . import deep, linear, syn
from .result import Anatomy, RegistrationResult

NETWORK = "registration"
"""Weights that predict the start of the registration of adult brains."""

ENGINES = ("deep", "ants", "none")


def register(
    moving: Anatomy,
    fixed: Anatomy,
    *,
    engine: str = "deep",
    refine: int | None = None,
    options: Options | None = None,
    network: str | None = None,
) -> RegistrationResult:
    """Register two brains: affine, then diffeomorphic.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains of any contrast.
    engine : {'deep', 'ants', 'none'}
        ``none`` stays affine; ``ants`` is SyN with antspyx's default settings.
    refine : int, optional
        Number of steps at the finest level; by default that of the options.
    options : Options, optional
        Settings of the optimization.
    network : str, optional
        Weights that predict its start (:mod:`brainseg.models.networks.velocity_unet`).

    Returns
    -------
    RegistrationResult
        Alignment, moving to fixed.

    Raises
    ------
    InputError
        If both share too few structures.
    """
    options = options or (deep.STARTED if network else Options())
    if refine is not None:
        *coarse, finest = options.levels
        options = replace(options, levels=(*coarse, replace(finest, steps=refine)))
    with kept():
        found = linear.affine(moving, fixed)
        if engine == "none":
            return found
        if engine == "ants":
            return syn.register(moving, fixed, found)
        return deep.register(moving, fixed, found, options, network)
