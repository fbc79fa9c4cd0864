"""A recipe: one YAML file that says how a network is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ...models.errors import UsageError
from ..kinds.registry import check


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    name : str
        Name of the weights.
    kind : {'whole-head', 'cascade', 'registration', ...}
        What the network sees (see :mod:`brainseg.training.heads.examples`).
    network : str
        Class of the network, a key of :data:`brainseg.models.networks.zoo.ARCHITECTURES`.
    architecture : dict
        Its arguments.
    losses : dict of str to float
        Weight of ``structure``, ``tissue``, ``hierarchical``, ``distance``, ``border`` and ``side``; of a
        registration those of :mod:`brainseg.training.losses.registration`.
    stages : list of dict
        One after the other: ``until`` (share of the training time), ``shape``, ``spacing`` and, if
        wanted, other ranges of the generator.
    minutes : float
        Training time; it can be raised later and training goes on.
    rate : float
        Highest learning rate.
    generator : dict
        What differs from :class:`brainseg.training.synthesis.generator.GeneratorConfig`.
    table : str
        Label table.
    coarse : str or None
        Weights whose posteriors a cascade sees.
    context : {'structure', 'distance'}
        Which of them.
    card : dict
        What else goes on the model card, such as bounds that the inference keeps.
    offset : list of float
        Where the middle of a cascade's box lies in the atlas frame (mm).
    start : str, list of str or None
        Weights to begin from, where names and shapes agree; the first that has a tensor gives it.
    seed : int
        Random seed.
    batch : int
        Examples in a step.
    checkpoint_seconds : float
        Time between checkpoints: what a kill can cost.
    loggers : list of str or None
        ``tensorboard``, ``mlflow``; None is TensorBoard where it is installed. What they show also goes to
        ``log.jsonl``.
    tracking_uri : str or None
        Where MLflow logs to, such as a DagsHub repository's; None is the folder ``mlruns`` of the run.
    licence, data : str
        Of the training data; they go on the model card.
    class_weights : dict of int to float
        Weights of structures in the cross-entropy, others 1.
    real : float
        Share of the examples that are real scans with given labels
        (:mod:`brainseg.training.heads.labelled_scans`).
    again : float
        Share of the examples whose prior is what the network found itself at a first look, instead of the
        coarser network's; a network that learned so looks twice wherever it is used.
    """

    name: str
    kind: str
    architecture: dict[str, Any]
    losses: dict[str, float]
    stages: list[dict[str, Any]]
    minutes: float = 60.0
    rate: float = 1.5e-3
    generator: dict[str, Any] = field(default_factory=dict)
    table: str = "adult"
    coarse: str | None = None
    context: str = "structure"
    spread: float = 6.0
    repeat: int = 1
    card: dict[str, Any] = field(default_factory=dict)
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    start: str | list[str] | None = None
    seed: int = 0
    network: str = "StemUNet"
    batch: int = 1
    checkpoint_seconds: float = 180.0
    loggers: list[str] | None = None
    tracking_uri: str | None = None
    licence: str = "Apache-2.0"
    data: str = ""
    class_weights: dict[int, float] = field(default_factory=dict)
    real: float = 0.0
    again: float = 0.0
    text: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def shipped_data() -> frozenset[str]:
    """What the recipes that the package ships say of their training data."""
    folder = files("brainseg.training") / "recipes"
    texts = [p.read_text() for p in folder.iterdir() if p.name.endswith(".yaml")]
    return frozenset(yaml.safe_load(text).get("data", "") for text in texts) - {""}


def read(name: str | Path, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe: a file, or the name of one that the package ships.

    Raises
    ------
    UsageError
        If there is neither, or if the recipe lacks a key or names what there is not; the message lists what
        there is.
    """
    text = _text(name)
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise UsageError(name, "it is no recipe: it holds no keys", "See the recipes in training/recipes")
    values |= changes or {}
    known = {f.name for f in fields(Recipe)}
    unknown = sorted(str(key) for key in set(values) - known)
    if unknown:
        raise UsageError(name, f"unknown keys {', '.join(unknown)}", f"Known are {', '.join(sorted(known))}")
    missing = sorted({"name", "kind", "architecture", "losses", "stages"} - set(values))
    if missing:
        raise UsageError(name, f"missing keys {', '.join(missing)}", "Every recipe has them")
    recipe = Recipe(**values | {"text": text})
    check(recipe, name)
    if recipe.again and not (recipe.architecture.get("prior") and recipe.context == "structure"):
        raise UsageError(name, "'again' needs a network with a prior of structures", "Leave it out")
    return recipe


def _text(name: str | Path) -> str:
    path = Path(name)
    if path.is_file():
        return path.read_text()
    folder = files("brainseg.training") / "recipes"
    shipped = sorted(p.name for p in folder.iterdir() if p.name.endswith(".yaml"))
    wanted = path.name if path.suffix == ".yaml" else f"{path.name}.yaml"
    if wanted not in shipped:
        there = ", ".join(one.removesuffix(".yaml") for one in shipped)
        raise UsageError(None, f"no recipe {str(name)!r}: neither a file nor a name", f"Names are {there}")
    return (folder / wanted).read_text()
