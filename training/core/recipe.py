"""A recipe: one YAML file that defines how a network is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ...models.data import user
from ...models.errors import UsageError
from ...models.networks import zoo
from . import optimizers

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Ranges = TypeVar("Ranges", bound="DataclassInstance")
"""Type of the ranges of a generator, a dataclass."""

STAGE = frozenset({"until", "shape", "spacing"})
"""Required keys of every stage."""

REQUIRED = frozenset({"name", "kind", "architecture", "losses", "stages"})
"""Required keys of every recipe."""

ALIASES = {"again": "second_pass", "licence": "license"}
"""Other accepted names of keys."""

NUMBERS = (
    "minutes",
    "rate",
    "spread",
    "real",
    "second_pass",
    "checkpoint_seconds",
    "edge_weight",
    "averaging",
)
"""Keys whose values are numbers."""

UNSTATED = "not stated"
"""License on the card of a recipe that states none."""

SHIPPED_LICENSE = "Apache-2.0"
"""License of the training data of shipped recipes that state none."""


@dataclass(frozen=True)
class Allowed:
    """Names that recipes of one kind can use.

    Attributes
    ----------
    losses : collection of str
        Losses.
    generator : frozenset of str
        Keys of ``generator``.
    stage : frozenset of str
        Keys of a stage in addition to :data:`STAGE`.
    """

    losses: Collection[str]
    generator: frozenset[str]
    stage: frozenset[str]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    name : str
        Name of the weights.
    kind : {'whole-head', 'cascade', 'registration', ...}
        Kind of training, a key of :data:`brainseg.training.kinds.registry.KINDS`.
    network : str
        Class of the network, a key of :data:`brainseg.models.networks.zoo.ARCHITECTURES`.
    architecture : dict
        Arguments of the network.
    losses : dict of str to float
        Weight of every loss by name; for segmentation ``structure``, ``tissue``, ``hierarchical``,
        ``distance``, ``border``, ``inside`` and ``side``; for registration see
        :mod:`brainseg.training.losses.registration`.
    stages : list of dict
        Consecutive training stages, each with ``until`` (share of the training time), ``shape``, ``spacing``
        and optionally other ranges of the generator.
    minutes : float
        Training time; can be increased later to continue training.
    rate : float
        Maximum learning rate.
    averaging : float
        The averaged weights are those of about the last ``1 / averaging`` of the steps, at most 500.
    schedule, optimizer : str
        Keys of :data:`brainseg.training.core.optimizers.SCHEDULES` and of ``OPTIMIZERS`` there.
    generator : dict
        Differences from the default ranges of the generator, such as
        :class:`brainseg.training.synthesis.config.GeneratorConfig`.
    table : str
        Label table: a name, or a TSV file; a file that the recipe itself names is looked for beside it first.
    coarse : str or None
        Weights whose posteriors are the context of a cascade.
    context : {'structure', 'distance'}
        Output of the coarse network that is the context.
    spread : float
        Standard deviation (mm) of the center of a cascade's grid about the brain's center.
    repeat : int
        Examples per draw.
    card : dict
        Additional entries of the model card.
    offset : list of float
        Center of a cascade's box in the atlas frame (mm).
    shares : str or None
        Weights whose encoder the network uses as it is: it does not train, and is not stored again.
    eight_bits : bool
        Whether the weights are stored in eight bits instead of sixteen.
    start : str, list of str or None
        Weights to initialize from, where names and shapes agree; the first that has a tensor provides it.
    seed : int
        Random seed.
    batch : int
        Examples per training step.
    checkpoint_seconds : float
        Time between checkpoints.
    loggers : list of str or None
        ``tensorboard``, ``mlflow``; None is TensorBoard where it is installed. The same values go to
        ``log.jsonl``.
    tracking_uri : str or None
        Tracking server of MLflow; None is the folder ``mlruns`` of the run.
    license, data : str
        License and description of the training data, for the model card. A shipped recipe without a license
        is for label maps under Apache-2.0; of another one the card says that none is stated.
    class_weights : dict of int to float
        Weights of structures in the cross-entropy; the default is 1.
    edge_weight : float
        Weight in the cross-entropy of the structures, at full resolution, of voxels with another structure on
        one of their faces, relative to the others.
    real : float
        Share of the examples that are real scans with labels
        (:mod:`brainseg.training.heads.labeled_scans`); of a registration, pairs of scans without labels
        (:mod:`brainseg.training.registration.unlabeled`).
    second_pass : float
        Share of the examples whose prior is the output of the network's own first pass instead of the coarse
        network's posteriors. A network trained this way runs in two passes. Alias: ``again``.
    inputs : dict
        What a network of the kind ``supervised`` sees (:mod:`brainseg.models.segmentation.own.inputs`), its
        ``use`` (``labels``, ``lesion``, ``mask``), and ``weights`` of labels in the sampling of patches.
    compile : bool
        Whether ``torch.compile`` compiles the network for training; it needs a C++ compiler.
    folds : int
        Number of folds, of which ``--fold`` trains one; 0 for none (kind ``supervised``).
    merge : bool
        Whether the validation cases train too, and nothing is scored (hippocampi).
    text : str
        Text of the YAML file.
    """

    name: str
    kind: str
    architecture: dict[str, Any]
    losses: dict[str, float]
    stages: list[dict[str, Any]]
    minutes: float = 60.0
    rate: float = 1.5e-3
    averaging: float = 20.0
    schedule: str = "cosine"
    optimizer: str = "adamw"
    generator: dict[str, Any] = field(default_factory=dict)
    table: str = "adult"
    coarse: str | None = None
    context: str = "structure"
    spread: float = 6.0
    repeat: int = 1
    card: dict[str, Any] = field(default_factory=dict)
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    shares: str | None = None
    eight_bits: bool = False
    start: str | list[str] | None = None
    seed: int = 0
    network: str = "StemUNet"
    batch: int = 1
    checkpoint_seconds: float = 180.0
    loggers: list[str] | None = None
    tracking_uri: str | None = None
    license: str = UNSTATED
    data: str = ""
    class_weights: dict[int, float] = field(default_factory=dict)
    edge_weight: float = 1.0
    real: float = 0.0
    second_pass: float = 0.0
    inputs: dict[str, Any] = field(default_factory=dict)
    compile: bool = False
    folds: int = 0
    merge: bool = False
    text: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def ranges(self, default: Ranges, stage: Mapping[str, Any]) -> Ranges:
        """Return the ranges of a generator in a stage.

        Parameters
        ----------
        default : dataclass instance
            Default ranges.
        stage : mapping of str to Any
            Stage of the recipe; its ranges take precedence over those of the recipe.
        """
        names = {one.name for one in fields(default)}
        changes = self.generator | {k: v for k, v in stage.items() if k in names}
        return replace(default, **changes)

    @property
    def starts(self) -> list[str]:
        """Names of the weights to initialize from."""
        return [self.start] if isinstance(self.start, str) else self.start or []


@cache
def shipped_data() -> frozenset[str]:
    """Return the descriptions of the training data in the recipes that the package ships."""
    folder = files("brainseg.training") / "recipes"
    texts = [p.read_text() for p in folder.iterdir() if p.name.endswith(".yaml")]
    return frozenset(yaml.safe_load(text).get("data", "") for text in texts) - {""}


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys and values of a recipe with aliases replaced by the names of :class:`Recipe`.

    Examples
    --------
    >>> canonical({"again": 0.5, "minutes": 3})
    {'second_pass': 0.5, 'minutes': 3}
    """
    return {ALIASES.get(key, key): value for key, value in values.items()}


def read(
    name: str | Path, changes: Mapping[str, Any] | None = None, *, kinds: Mapping[str, Allowed]
) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : path-like
        YAML file, or the name of a recipe that the package ships.
    changes : mapping of str to Any, optional
        Values that replace those of the file; ``key.part`` replaces one entry of a mapping.
    kinds : mapping of str to Allowed
        Names that recipes of every kind can use.

    Raises
    ------
    UsageError
        If there is no such recipe, a required key is missing, or a key or name is unknown; the message lists
        the known ones.
    """
    path, shipped = _file(name)
    text = path.read_text()
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise UsageError(name, "not a valid recipe: expected a YAML mapping", "See training/recipes")
    values = {"license": SHIPPED_LICENSE if shipped else UNSTATED} | canonical(values)
    beside = path.parent / str(values.get("table"))
    if beside.suffix == ".tsv" and beside.is_file():
        values["table"] = str(beside)
    values = changed(name, values, canonical(changes or {}))
    known = {f.name for f in fields(Recipe)}
    unknown = sorted(str(key) for key in set(values) - known)
    if unknown:
        remedy = f"Known: {', '.join(sorted(known))}"
        if "finder" in unknown:
            remedy = "A network of the cavity no longer has a finder: begin with the recipe intracranial"
        raise UsageError(name, f"unknown keys {', '.join(unknown)}", remedy)
    missing = sorted(REQUIRED - set(values))
    if missing:
        raise UsageError(name, f"missing keys {', '.join(missing)}", "Add them; every recipe needs them")
    values |= {key: _number(name, key, values[key]) for key in NUMBERS if key in values}
    recipe = Recipe(**values | {"text": text})
    check(recipe, name, kinds)
    return recipe


def changed(path: str | Path, values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with others; ``key.part`` replaces one entry of a mapping.

    Raises
    ------
    UsageError
        If a key with a part is not a mapping.

    Examples
    --------
    >>> changed("mine", {"inputs": {"axes": [2], "use": "lesion"}}, {"inputs.axes": [0], "rate": 1.0})
    {'inputs': {'axes': [0], 'use': 'lesion'}, 'rate': 1.0}
    """
    out = dict(values)
    for key, value in changes.items():
        first, dot, part = key.partition(".")
        if not dot:
            out[key] = value
            continue
        whole = out.get(first, {})
        if not isinstance(whole, Mapping):
            raise UsageError(path, f"{first} is not a mapping, so {key} is no entry of it", f"Give {first}=")
        out[first] = {**whole, part: value}
    return out


def _number(path: str | Path, key: str, value: Any) -> float:
    """Return a number; YAML takes one such as ``1e-4``, without a point, for a text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            path, f"{key} is {value!r}, which is no number", f"Write it as in {key}: 1.0"
        ) from None


def check(recipe: Recipe, path: str | Path, kinds: Mapping[str, Allowed]) -> None:
    """Refuse a recipe with unknown names, which would stop training later or be ignored.

    Parameters
    ----------
    recipe : Recipe
        Recipe with all of its keys.
    path : path-like
        File, for the error message.
    kinds : mapping of str to Allowed
        Names that recipes of every kind can use.

    Raises
    ------
    UsageError
        If a name is unknown; the message lists the known ones.
    """
    _one_of(path, "kind", [recipe.kind], kinds)
    _one_of(path, "network", [recipe.network], zoo.ARCHITECTURES)
    _one_of(path, "schedule", [recipe.schedule], optimizers.SCHEDULES)
    _one_of(path, "optimizer", [recipe.optimizer], optimizers.OPTIMIZERS)
    if not Path(recipe.table).is_file():
        _one_of(path, "table", [recipe.table], user.every("labels", ".tsv"))
    allowed = kinds[recipe.kind]
    for key in ("architecture", "losses", "generator"):
        if not isinstance(getattr(recipe, key), dict):
            raise UsageError(path, f"{key} is not a mapping", f"Write it as {key}: {{name: value}}")
    _one_of(path, "losses", recipe.losses, allowed.losses)
    _one_of(path, "generator", recipe.generator, allowed.generator)
    _check_stages(recipe, path, allowed.stage | STAGE)
    if recipe.second_pass and not (recipe.architecture.get("prior") and recipe.context == "structure"):
        raise UsageError(
            path,
            "second_pass (or again) needs a network with a prior of structures",
            "Remove the key",
        )


def _check_stages(recipe: Recipe, path: str | Path, allowed: frozenset[str]) -> None:
    stages = recipe.stages
    if not (isinstance(stages, list) and stages and all(isinstance(stage, dict) for stage in stages)):
        raise UsageError(path, "stages is not a list of mappings", "Give each until, shape and spacing")
    for number, stage in enumerate(stages, 1):
        _one_of(path, f"stage {number}", stage, allowed)
        missing = sorted(STAGE - set(stage))
        if missing:
            raise UsageError(path, f"stage {number}: missing {', '.join(missing)}", "Add them to every stage")


def _one_of(path: str | Path, key: str, found: Iterable[str], allowed: Collection[str]) -> None:
    unknown = [str(name) for name in found if name not in allowed]
    if unknown:
        raise UsageError(path, f"{key}: unknown {', '.join(unknown)}", f"Known: {', '.join(sorted(allowed))}")


def _file(name: str | Path) -> tuple[Path, bool]:
    """Return the file of a recipe, and whether the package ships it."""
    path = Path(name)
    if path.is_file():
        return path, False
    folder = Path(str(files("brainseg.training") / "recipes"))
    shipped = sorted(p.name for p in folder.iterdir() if p.name.endswith(".yaml"))
    wanted = path.name if path.suffix == ".yaml" else f"{path.name}.yaml"
    if wanted not in shipped:
        names = ", ".join(one.removesuffix(".yaml") for one in shipped)
        raise UsageError(
            None, f"no recipe {str(name)!r}: neither a file nor a shipped recipe", f"Shipped recipes: {names}"
        )
    return folder / wanted, True
