"""Recipes of the kind ``supervised``: checked, and completed from label table and inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...models.data import model_files
from ...models.errors import UsageError
from ...models.networks import aggregation, purpose
from ...models.networks.monai_networks import NETWORKS
from ...models.population import labels, populations
from ...models.preprocessing.intensity import NORMALIZATIONS
from ...models.segmentation.own.inputs import ACQUIRED, DEFAULTS, specification
from ...models.segmentation.own.tissues import CHANNELS
from ..core.recipe import Recipe
from .ranges import SPATIAL, Ranges

FRAMES = ("box", "cascade")
"""Frames of the inputs."""

COORDINATES = 3
"""Channels of coordinates in the cascade."""

CONTEXT = "context"
"""Task of the prior of a cascade: no task of the network, for its labels are others than the prior's."""

OWN = {"use": "labels", "weights": {}}
"""Keys of ``inputs`` that only training reads, and their defaults."""

AS_GIVEN = {"bias": "acquired"}
"""Defaults that differ from those of cards: the images of a training are used as they are."""


def completed(recipe: Recipe, path: str | Path) -> Recipe:
    """Return a recipe with all of its inputs, and the outputs of its network.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the kind ``supervised``.
    path : path-like
        Its file, for the error message.

    Raises
    ------
    UsageError
        If a value is unknown, or parts do not fit together.
    """
    unknown = sorted(set(recipe.inputs) - set(DEFAULTS) - set(OWN))
    if unknown:
        known = ", ".join([*DEFAULTS, *OWN])
        raise UsageError(path, f"inputs: unknown {', '.join(map(str, unknown))}", f"Known: {known}")
    spec = OWN | specification({"inputs": AS_GIVEN | recipe.inputs})
    allowed: dict[str, Collection[str]] = {
        "sampler": aggregation.SAMPLERS,
        "frame": FRAMES,
        "normalize": NORMALIZATIONS,
        "image": ("brain", "head"),
        "bias": ("acquired", "corrected"),
        "use": purpose.USES,
    }
    for key, names in allowed.items():
        if spec[key] not in names:
            raise UsageError(path, f"inputs: unknown {key} {spec[key]!r}", f"Known: {', '.join(names)}")
    if spec["tissues"]:
        _check_tissues(spec, path)
    if not set(spec["axes"]) <= {0, 1, 2} or not spec["axes"]:
        raise UsageError(path, f"inputs: axes {spec['axes']} are not axes", "Give some of 0, 1, 2")
    if spec["use"] == "mask":
        spec["image"] = "head"
    table = labels.own(recipe.table)
    foreign = sorted(set(map(int, spec["weights"])) - set(table.by_index))
    if foreign:
        raise UsageError(path, f"inputs: weights of {foreign}, which are not in the table", "Correct them")
    if spec["frame"] == "cascade":
        spec["normalize"] = "unit"
    if recipe.generator.get("flip", Ranges.flip) and (alone := table.one_sided):
        reason = f"the table {recipe.table} has no label for the other side of {alone[0]}"
        remedy = "Name its partner in the column partner, or set flip to 0 under generator (no mirror images)"
        raise UsageError(path, f"generator: {reason}", remedy)
    recipe = replace(recipe, inputs=spec)
    if any(stage.get("spacing") == ACQUIRED for stage in recipe.stages):
        _check_still(recipe, path, "interpolate the image, and spacing is acquired: nothing is interpolated")
    if spec["frame"] == "cascade":
        _check_cascade(recipe, path)
        recipe = replace(recipe, coarse=recipe.coarse or "head-coarse")
    architecture = _architecture(recipe, len(table.labels), path)
    if recipe.network == "UNETR":
        if spec["sampler"] != "patches":
            raise UsageError(path, "UNETR sees windows of one size only", "Set the sampler to patches")
        architecture.setdefault("shape", list(recipe.stages[-1]["shape"]))
    return replace(recipe, architecture=architecture)


def _check_tissues(spec: Mapping[str, Any], path: str | Path) -> None:
    if spec["tissues"] not in populations.names():
        known = ", ".join(populations.names())
        raise UsageError(path, f"inputs: tissues of {spec['tissues']!r}", f"Known populations: {known}")
    if spec["use"] != "labels" or spec["frame"] != "box" or len(spec["contrasts"]) > 1:
        reason = "inputs: tissues are for labels of one contrast in the frame box"
        raise UsageError(path, reason, "Leave tissues out, or the other inputs as they are by default")


def _check_still(recipe: Recipe, path: str | Path, why: str) -> None:
    """Refuse random changes of shape."""
    spatial = [name for name in SPATIAL if recipe.generator.get(name)]
    if spatial:
        reason = f"generator: {', '.join(spatial)} would {why}"
        raise UsageError(path, reason, "Set them to 0, or frame and spacing to other values")


def _check_cascade(recipe: Recipe, path: str | Path) -> None:
    _check_still(recipe, path, "move the image off its coordinates (frame cascade)")
    if (
        recipe.network != "StemUNet"
        or recipe.inputs["sampler"] == "slices"
        or len(recipe.inputs["contrasts"]) > 1
    ):
        raise UsageError(
            path, "the frame cascade is for a StemUNet of one contrast, not of slices", "Set the frame to box"
        )


def _architecture(recipe: Recipe, outputs: int, path: str | Path) -> dict[str, Any]:
    """Return the arguments of the network with its inputs and outputs."""
    given, spec = dict(recipe.architecture), recipe.inputs
    cascade = spec["frame"] == "cascade"
    count = len(spec["contrasts"]) + (COORDINATES if cascade else 0)
    count += len(CHANNELS) if spec["tissues"] else 0
    if recipe.network == "StemUNet":
        task = {"outputs": outputs} | _task(given)
        made: dict[str, Any] = {"inputs": count, "tasks": {"structure": task}}
        if cascade:
            made |= {"prior": _structures(str(recipe.coarse), path), "prior_task": CONTEXT}
            if recipe.starts:
                made |= _merged(recipe, task, path)
    elif recipe.network == "SliceUNet":
        made = {"inputs": count, "outputs": outputs, "task": "structure"}
    elif recipe.network == "CoarseToFine":
        made = {"structures": outputs, "inputs": count}
    elif recipe.network in NETWORKS:
        made = {"inputs": count, "outputs": outputs}
    else:
        known = ", ".join(("StemUNet", "SliceUNet", "CoarseToFine", *NETWORKS))
        raise UsageError(path, f"network: {recipe.network} has no labels of its own", f"Use {known}")
    flat = recipe.network in ("SliceUNet", "EfficientUNet")
    if flat != (spec["sampler"] == "slices"):
        what = "slices" if flat else "volumes or patches"
        raise UsageError(
            path, f"network: {recipe.network} sees {what}", f"Set the sampler of inputs to {what}"
        )
    for key in set(given) & set(made) - {"tasks"}:
        if given[key] != made[key]:
            reason = f"architecture: {key} is {given[key]}, but inputs and label table need {made[key]}"
            raise UsageError(path, reason, f"Leave {key} out")
    return given | made


def _task(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the decoder that a recipe gives, without outputs."""
    return {
        k: v for k, v in dict((given.get("tasks") or {}).get("structure") or {}).items() if k != "outputs"
    }


def _merged(recipe: Recipe, task: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the arguments of a network that begins as one of structures, summed up to labels.

    A structure belongs to the label of its tissue, or else of its class in a dseg. Labels of one side, and
    those of no tissue, get outputs of their own. A network of the same labels goes on with its own outputs.
    """
    card = _card("start", recipe.starts[0], path)
    own = labels.own(recipe.table).labels
    if purpose.kind_of(card) == purpose.SUPERVISED and labels.of_card(card).labels == own:
        before = card["architecture"]["arguments"]
        return {key: before[key] for key in ("tasks", "prior_task", "merge") if key in before}
    if purpose.purpose_of(card) != "segmentation":
        return {}
    structures = labels.of_card(card)
    usable = [label for label in own if label.partner == label.index and label.tissue]
    groups: dict[int, list[int]] = {label.index: [] for label in own}
    for position, index in enumerate(structures.unsided):
        tissue = structures[index].tissue
        fits = [one for one in usable if one.tissue == tissue]
        fits = fits or [one for one in usable if labels.DSEG.get(one.tissue) == labels.DSEG.get(tissue)]
        # What no label fits is background.
        groups[(fits or [own[0]])[0].index].append(position)
    count = len(structures.unsided)
    for group in groups.values():
        if not group:
            group.append(count)
            count += 1
    tasks = {"structure": task | {"outputs": count}}
    return {"tasks": tasks, "prior_task": "structure", "merge": {"structure": list(groups.values())}}


def _structures(coarse: str, path: str | Path) -> int:
    card = _card("coarse", coarse, path)
    return purpose.outputs(card["architecture"]["class"], card["architecture"]["arguments"])["structure"]


def _card(key: str, name: str, path: str | Path) -> dict[str, Any]:
    try:
        return model_files.read_card(name)
    except model_files.ModelError as error:
        raise UsageError(path, f"{key}={name}: {error}", f"Set {key} to the name of weights") from None
