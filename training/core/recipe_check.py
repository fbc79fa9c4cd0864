"""Checks that the parts of a recipe fit together, before data are read."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from ...models.errors import UsageError
from ...models.networks import purpose, zoo
from ...models.population import labels
from ...models.segmentation.own.inputs import ACQUIRED
from .recipe import Recipe

INPUTS = {
    "whole-head": 4,
    "cavity": 4,
    "cascade": 4,
    "any-position": 4,
    "upright": 4,
    "crop": 1,
    "lesion": 3,
    "registration": 10,
    "hippocampus-registration": 5,
}
"""Channels of the examples by kind of recipe."""

TABLES = {
    "any-position": ("fetal", "fetal-callosum"),
    "upright": ("fetal", "fetal-callosum"),
    "crop": ("hippocampus",),
    "pair": ("hippocampus",),
    "hippocampus-registration": ("hippocampus",),
    "whole-head": ("adult",),
    "cavity": ("adult",),
    "cascade": ("adult",),
}
"""Label tables of the examples by kind of recipe."""

NEEDS = {
    "structure": ("structure", 1),
    "hierarchical": ("structure", 1),
    "tissue": ("tissue", 1),
    "distance": ("mask", 1),
    "border": ("mask", 1),
    "inside": ("mask", 1),
    "volume": ("mask", 1),
    "side": ("mask", 2),
}
"""Task, and its least number of outputs, that a loss of a segmentation network needs."""


def built(recipe: Recipe, path: str | Path | None = None) -> torch.nn.Module:
    """Build the network of a recipe.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the network.
    path : path-like, optional
        File of the recipe, for the error message.

    Raises
    ------
    UsageError
        If the architecture has unknown or impossible arguments.
    """
    made = zoo.ARCHITECTURES[recipe.network]
    try:
        return made(**recipe.architecture)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        takes = ", ".join(inspect.signature(made).parameters)
        raise UsageError(
            path,
            f"recipe {recipe.name}: the architecture does not fit {recipe.network} "
            f"({type(error).__name__}: {error})",
            f"{recipe.network} takes {takes}",
        ) from None


def check(recipe: Recipe, path: str | Path) -> None:
    """Refuse a recipe whose architecture, label table, losses and stages do not fit together.

    Parameters
    ----------
    recipe : Recipe
        Recipe with known names.
    path : path-like
        File of the recipe, for the error message.

    Raises
    ------
    UsageError
        If two parts do not fit; the message names both.
    """
    with torch.device("meta"):
        network = built(recipe, path)
    tables = TABLES.get(recipe.kind, (recipe.table,))
    if recipe.table not in tables:
        _refuse(
            path, f"table {recipe.table} does not fit the kind {recipe.kind}", f"Use {' or '.join(tables)}"
        )
    supervised = recipe.kind == purpose.SUPERVISED
    table = (labels.own if supervised else labels.load)(recipe.table)
    unsided = tuple(table.by_index) if supervised else table.unsided
    found = purpose.outputs(recipe.network, recipe.architecture)
    for task, count in (("structure", len(unsided)), ("tissue", len(labels.TISSUES))):
        if found.get(task, count) != count:
            sides = "labels with the background" if supervised else "structures without sides"
            listed = f"the label table {recipe.table} has {count} {sides}"
            listed = listed if task == "structure" else f"there are {count} tissues"
            reason = f"architecture: the task {task} has {found[task]} outputs, but {listed}"
            _refuse(path, reason, f"Set its outputs to {count}")
    _check_losses(recipe, path, found)
    _check_inputs(recipe, path, len(unsided))
    weights = sorted(set(map(str, recipe.class_weights)) - set(map(str, unsided)))
    if weights:
        known = ", ".join(map(str, unsided))
        _refuse(
            path,
            f"class_weights: {', '.join(weights)} are not in the table {recipe.table}",
            f"Known: {known}",
        )
    _check_stages(recipe, path, int(network.stride))  # type: ignore[arg-type]
    _check_values(recipe, path)


def _check_losses(recipe: Recipe, path: str | Path, found: dict[str, int]) -> None:
    """Refuse losses of tasks that the network does not have."""
    if not found:
        return
    for loss in recipe.losses:
        task, least = NEEDS.get(loss, ("", 0))
        if task and found.get(task, 0) < least:
            outputs = f" with {least} outputs" if least > 1 else ""
            reason = f"losses: {loss} needs the task {task}{outputs}; the architecture has {', '.join(found)}"
            _refuse(path, reason, "Add the task to architecture, or omit the loss")


def _check_inputs(recipe: Recipe, path: str | Path, structures: int) -> None:
    """Refuse a network that takes other inputs than the examples have."""
    arguments = recipe.architecture
    wanted = INPUTS.get(recipe.kind)
    if wanted and arguments.get("inputs", wanted) != wanted:
        reason = (
            f"architecture: {arguments['inputs']} inputs; examples of the kind {recipe.kind} have {wanted}"
        )
        _refuse(path, reason, f"Set inputs to {wanted}")
    prior = arguments.get("prior", 0)
    if recipe.kind == purpose.SUPERVISED:
        return  # completed from its inputs
    if recipe.kind not in ("cascade", "cavity"):
        if prior:
            _refuse(path, f"architecture: prior: examples of the kind {recipe.kind} have none", "Omit prior")
        return
    if recipe.kind == "cavity" and (not recipe.coarse or recipe.context != "distance" or any(recipe.offset)):
        reason = "the kind cavity has a coarse network, the context distance and no offset"
        _refuse(path, reason, "Set coarse and context as in the recipe intracranial, and omit offset")
    channels = 1 if recipe.context == "distance" else structures
    if prior not in (0, channels):
        reason = f"architecture: prior is {prior}, but the context {recipe.context} has {channels} channels"
        _refuse(path, reason, f"Set prior to {channels}")


def _check_stages(recipe: Recipe, path: str | Path, stride: int) -> None:
    """Refuse stages that end early, or shapes that the network cannot halve."""
    ends = [stage["until"] for stage in recipe.stages]
    if ends != sorted(ends) or ends[-1] < 1:
        _refuse(path, f"stages: until is {ends}", "Let it increase, and end with 1.0")
    dimensions = 2 if recipe.kind == "lesion" or recipe.inputs.get("sampler") == "slices" else 3
    for number, stage in enumerate(recipe.stages, 1):
        shape = stage["shape"]
        if not isinstance(shape, list | tuple) or len(shape) != dimensions:
            _refuse(path, f"stage {number}: shape {shape}", f"Give {dimensions} numbers of voxels")
        _check_spacing(recipe, path, number, stage["spacing"])
        if any(n % stride for n in shape):
            reason = f"stage {number}: the sides of shape {list(shape)} are not multiples of {stride}"
            _refuse(path, reason, f"{recipe.network} with these channels needs multiples of {stride}")


def _check_spacing(recipe: Recipe, path: str | Path, number: int, spacing: object) -> None:
    """Refuse a voxel size that is not positive, and the word for every image's own outside the frame box."""
    supervised = recipe.kind == purpose.SUPERVISED
    if spacing == ACQUIRED and supervised and recipe.inputs.get("frame", "box") == "box":
        return
    sizes = [spacing]
    if supervised and isinstance(spacing, list | tuple) and len(spacing) == 3:
        sizes = list(spacing)
    if all(isinstance(size, int | float) and size > 0 for size in sizes):
        return
    remedy = "Give a number (mm)"
    if supervised:
        remedy += f", three of them, or in the frame box the word {ACQUIRED}: the voxels of every image"
    _refuse(path, f"stage {number}: spacing {spacing}", remedy)


def _check_values(recipe: Recipe, path: str | Path) -> None:
    """Refuse options without an effect, and values that the training cannot use."""
    if recipe.edge_weight != 1 and "structure" not in recipe.losses:
        reason = f"edge_weight is for the loss structure; the losses are {', '.join(recipe.losses)}"
        _refuse(path, reason, "Omit edge_weight")
    if recipe.averaging <= 0 or recipe.edge_weight <= 0:
        _refuse(path, "averaging and edge_weight must be positive", "Omit them for the defaults")


def _refuse(path: str | Path, reason: str, remedy: str) -> None:
    raise UsageError(path, reason, remedy)
