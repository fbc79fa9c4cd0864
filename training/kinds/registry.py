"""The kinds of training: of each its trainer, and the names that its recipes can use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ..core import recipe, recipe_check
from ..core.recipe import Allowed, Recipe
from ..core.segmentation import LOSSES
from ..core.trainer import Trainer
from ..diffusion import trainer as diffusion
from ..fetal import trainer as fetal
from ..fetal.generator import FetalConfig
from ..heads import trainer as heads
from ..hippocampus import trainer as hippocampus
from ..hippocampus.generator import CropConfig
from ..hippocampus.pairs import AlignedPairs
from ..lesion import trainer as lesion
from ..losses import named
from ..losses import registration as registration_losses
from ..registration import trainer as registration
from ..supervised import trainer as supervised
from ..supervised.ranges import NAMES
from ..supervised.recipe import completed
from ..synthesis.config import GeneratorConfig
from ..synthesis.ventricles import FARTHEST


@dataclass(frozen=True)
class Kind(Allowed):
    """A kind of training.

    Attributes
    ----------
    trainer : type of Trainer
        Trainer of its recipes.
    losses, generator, stage
        See :class:`brainseg.training.core.recipe.Allowed`.
    """

    trainer: type[Trainer]


def _names(config: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(config))


def _kinds() -> dict[str, Kind]:
    of_heads, of_fetuses = _names(GeneratorConfig), _names(FetalConfig)
    of_crops = _names(CropConfig) - {"scan"}  # ranges of another generator, which YAML cannot give
    parameters = inspect.signature(AlignedPairs).parameters.values()
    of_pairs = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} | set(hippocampus.ALIASES)
    of_velocity = registration_losses.NAMES
    of_brains = of_heads | {"heads", "error", "pictures"}
    return {
        **{name: Kind(LOSSES, of_heads, of_heads | {"finer"}, heads.HeadTrainer) for name in heads.KINDS},
        **{name: Kind(LOSSES, of_fetuses, of_fetuses, fetal.FetalTrainer) for name in fetal.KINDS},
        **{
            name: Kind(of_velocity, of_heads, of_brains, registration.VelocityTrainer)
            for name in registration.KINDS
        },
        supervised.KIND: Kind(named.LOSSES, NAMES, frozenset(), supervised.SupervisedTrainer),
        diffusion.KIND: Kind(
            diffusion.LOSSES, frozenset(), frozenset({"part"}), diffusion.LatentDiffusionTrainer
        ),
        lesion.KIND: Kind(lesion.LOSSES, of_heads, of_heads | {"real"}, lesion.LesionTrainer),
        "crop": Kind(LOSSES, of_crops, of_crops, hippocampus.HippocampusTrainer),
        "pair": Kind((*of_velocity, "steps"), of_crops, of_crops, hippocampus.HippocampusTrainer),
        **{
            name: Kind(of_velocity, frozenset(of_pairs), frozenset(), hippocampus.HippocampusVelocityTrainer)
            for name in hippocampus.VELOCITY_KINDS
        },
    }


KINDS = _kinds()
"""Kinds of training by the name that a recipe gives."""


def read(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe of any kind.

    Parameters
    ----------
    name : path-like
        YAML file, or the name of a recipe that the package ships.
    changes : mapping of str to Any, optional
        Values that replace those of the file.

    Raises
    ------
    UsageError
        If there is no such recipe, a required key is missing, a key or name is unknown, or parts do not fit
        together.
    """
    found = recipe.read(name, changes, kinds=KINDS)
    if found.kind == supervised.KIND:
        found = completed(found, name)
    recipe_check.check(found, name)
    for ranges in (found.generator, *found.stages):
        most = float(ranges.get("ventricles", 0))
        if not 0 <= most <= FARTHEST:
            reason = f"ventricles is {most:g} mm; the tissue around the ventricles would fold"
            raise UsageError(name, reason, f"Give 0 to {FARTHEST:g}")
    return found
