"""What a recipe may say: kinds, and of each the losses and the keys of generator and stages."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ...models.data import FOLDER
from ...models.errors import UsageError
from ...models.networks import zoo
from ..fetal.generator import FetalConfig
from ..hippocampus.generator import CropConfig
from ..hippocampus.pairs import AlignedPairs
from ..losses import registration
from ..synthesis.config import GeneratorConfig

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.recipe import Recipe

STAGE = frozenset({"until", "shape", "spacing"})
"""Keys that every stage has."""

OF_HEADS = ("structure", "tissue", "hierarchical", "distance", "border", "side")
"""Losses of :class:`brainseg.training.core.trainer.Trainer`."""


@dataclass(frozen=True)
class Allowed:
    """What recipes of one kind may name.

    Attributes
    ----------
    losses : collection of str
        Losses.
    generator : frozenset of str
        Keys of ``generator``.
    stage : frozenset of str
        Keys of a stage beside :data:`STAGE`.
    """

    losses: Collection[str]
    generator: frozenset[str]
    stage: frozenset[str]


def _names(config: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(config))


def _kinds() -> dict[str, Allowed]:
    heads, fetuses = _names(GeneratorConfig), _names(FetalConfig)
    crops = _names(CropConfig) - {"scan"}  # ranges of another kind, which YAML cannot give
    both = frozenset(
        k for k, p in inspect.signature(AlignedPairs).parameters.items() if p.kind is p.KEYWORD_ONLY
    )
    of_velocity = registration.NAMES
    return {
        "whole-head": Allowed(OF_HEADS, heads, heads),
        "cascade": Allowed(OF_HEADS, heads, heads),
        "registration": Allowed(of_velocity, heads, heads | {"heads", "error", "pictures"}),
        "lesion": Allowed(("lesion", "slice-dice"), heads, heads | {"real"}),
        "any-position": Allowed(OF_HEADS, fetuses, fetuses),
        "upright": Allowed(OF_HEADS, fetuses, fetuses),
        "crop": Allowed(OF_HEADS, crops, crops),
        "pair": Allowed((*of_velocity, "steps"), crops, crops),
        "hippocampus-registration": Allowed(of_velocity, both, frozenset()),
    }


KINDS = _kinds()
"""What the recipes of every kind may name."""


def check(recipe: Recipe, path: str | Path) -> None:
    """Refuse a recipe that names what there is not: training would end in it, or pass it over.

    Parameters
    ----------
    recipe : Recipe
        With all of its keys.
    path : path-like
        Named in the error.

    Raises
    ------
    UsageError
        It says which key is at fault and what is allowed.
    """
    _one_of(path, "kind", [recipe.kind], KINDS)
    _one_of(path, "network", [recipe.network], zoo.ARCHITECTURES)
    tables = [p.name.removesuffix(".tsv") for p in (FOLDER / "labels").iterdir()]
    _one_of(path, "table", [recipe.table], tables)
    allowed = KINDS[recipe.kind]
    for key in ("architecture", "losses", "generator"):
        if not isinstance(getattr(recipe, key), dict):
            raise UsageError(path, f"{key} is not a mapping", f"Write it as {key}: {{name: value}}")
    _one_of(path, "losses", recipe.losses, allowed.losses)
    _one_of(path, "generator", recipe.generator, allowed.generator)
    _check_stages(recipe, path, allowed.stage | STAGE)


def _check_stages(recipe: Recipe, path: str | Path, allowed: frozenset[str]) -> None:
    stages = recipe.stages
    if not (isinstance(stages, list) and stages and all(isinstance(stage, dict) for stage in stages)):
        raise UsageError(path, "stages is not a list of mappings", "Each has until, shape and spacing")
    for number, stage in enumerate(stages, 1):
        _one_of(path, f"stage {number}", stage, allowed)
        missing = sorted(STAGE - set(stage))
        if missing:
            raise UsageError(path, f"stage {number}: missing {', '.join(missing)}", "Every stage has them")


def _one_of(path: str | Path, key: str, found: Iterable[str], allowed: Collection[str]) -> None:
    unknown = [str(name) for name in found if name not in allowed]
    if unknown:
        raise UsageError(path, f"{key}: unknown {', '.join(unknown)}", f"Known: {', '.join(sorted(allowed))}")
