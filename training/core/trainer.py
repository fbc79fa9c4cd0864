"""The state of a training run: network, optimizer, averaged weights, checkpoints and export.

Lightning runs the loop (:mod:`brainseg.training.core.lightning`). Checkpoints are plain dictionaries of
tensors and numbers, written to a temporary file and renamed, so that nothing is ever unpickled and a run can
resume from checkpoints of earlier versions.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...models.errors import UsageError
from ...models.io import atomic
from ...models.networks import zoo
from ...models.networks.device import on_device, precision
from ...models.population import labels
from . import optimizers
from .example import Example, ExampleSource
from .recipe import Recipe
from .recipe_check import built
from .selection import Best, data_of, from_checkpoint, improved

VALIDATE_EVERY = 4
"""Checkpoints between validations."""

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


class Trainer(ABC):
    """The state of a training run, whatever is trained.

    Subclasses define the examples, the losses and the validation.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the network.
    data : Path
        Prepared arrays for training.
    folder : Path
        Folder of checkpoint, logs and exported weights; an existing checkpoint is resumed.
    validation : Path, optional
        Prepared arrays for validation, which never train.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.

    Attributes
    ----------
    step : int
        Number of completed training steps.
    seconds : float
        Time spent in them, without checkpoints and validations.
    ema : dict of str to Tensor
        Exponential moving average of the weights, which is validated.
    best : Best or None
        The averaged weights with the highest validation score, which are exported; without validation data
        the last ones are.
    running : dict of str to float
        Exponential moving average of every loss.
    mlflow_run : str or None
        Identifier of the run in MLflow.

    Raises
    ------
    UsageError
        If the architecture, the initial weights or the checkpoint do not fit the recipe.
    """

    scored: ClassVar[str] = "validation"
    """Description of the validation data on the model card."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
    ) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self.data, self.validation = data, validation
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.table = labels.load(recipe.table)
        self.network = on_device(built(recipe), device)
        self.encoder = self._share(recipe.shares) if recipe.shares else {}
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = optimizers.OPTIMIZERS[recipe.optimizer](trained, lr=recipe.rate)
        self.step, self.seconds, self.saves = 0, 0.0, 0
        self.running: dict[str, float] = {}
        self.begun_from: list[dict[str, Any]] = []
        self.mlflow_run: str | None = None
        self.best: Best | None = None
        self.validated = 0
        self._stage: dict[str, Any] | None = None
        self._source: ExampleSource | None = None
        if (folder / CHECKPOINT).exists():
            self._resume()
        elif recipe.starts:
            self._start_from(recipe.starts)

    @abstractmethod
    def samples(self, stage: dict[str, Any], data: Path) -> ExampleSource:
        """Return the source of a stage's examples from prepared arrays."""

    @abstractmethod
    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name.

        Parameters
        ----------
        out : dict of str to Any
            Output of the network.
        targets : dict of str to Tensor
            Targets of the example.
        """

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Return the scores of the averaged weights by name; empty without validation data."""

    def clock(self) -> float:
        """Return the time (s) of the clock of the training time: by default processor time."""
        return time.process_time()

    @property
    def share(self) -> float:
        """Share of the recipe's training time that is spent."""
        return self.seconds / (self.recipe.minutes * 60)

    def training_samples(self, stage: dict[str, Any]) -> ExampleSource:
        """Return the source of a stage's training examples."""
        return self.samples(stage, self.data)

    def stage(self) -> dict[str, Any]:
        """Return the current stage of the recipe."""
        return next(s for s in self.recipe.stages if min(self.share, 1) <= s["until"])

    def source(self) -> ExampleSource:
        """Return the source of the current stage's training examples."""
        wanted = self.stage()
        if self._source is None or wanted is not self._stage:
            self._stage, self._source = wanted, self.training_samples(wanted)
            print(f"stage {wanted}", flush=True)
        return self._source

    def prior(self, x: Tensor, prior: Tensor | None, *, training: bool = False) -> Tensor | None:
        """Return the prior of the network for an example with input ``x`` and prior ``prior``."""
        return prior

    def forward(self, example: Example) -> dict[str, Any]:
        """Run the network on an example as it runs after training."""
        x = example.x.contiguous(memory_format=torch.channels_last_3d)
        dtype = precision(self.device)
        with torch.autocast(self.device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
            return self.network(x, self.prior(x, example.prior))

    def note(self, parts: Mapping[str, Tensor]) -> None:
        """Update the running losses."""
        for k, v in parts.items():
            value = float(v.detach())
            self.running[k] = 0.98 * self.running[k] + 0.02 * value if k in self.running else value

    @property
    def trained_steps(self) -> int:
        """Training steps of the weights that train now."""
        return self.step

    def average(self) -> None:
        """Update the averaged weights."""
        keep = min(0.998, self.trained_steps / (self.trained_steps + self.recipe.averaging))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].mul_(keep).add_(v, alpha=1 - keep)
                else:
                    self.ema[k].copy_(v)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights and a fixed random seed; restore both afterwards."""
        state = {k: v.clone() for k, v in self.network.state_dict().items()}
        random = torch.get_rng_state()
        torch.manual_seed(1)
        self.network.load_state_dict(self.ema)
        self.network.eval()
        try:
            yield
        finally:
            self.network.load_state_dict(state)
            self.network.train()
            torch.set_rng_state(random)

    def checkpoint(self, last: bool = False) -> dict[str, float]:
        """Save the run; return the validation scores by the names of the loggers.

        The scores are empty but for every fourth checkpoint and the last one.
        """
        self.saves += 1
        # Save first: a validation takes long, and an interruption in it must not cost steps.
        self.save()
        scores = self._score() if last or self.saves % VALIDATE_EVERY == 0 else {}
        record = {"step": self.step, "seconds": round(self.seconds), "loss": self.running, "scores": scores}
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps(record) + "\n")
        if scores:
            print("validation " + " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
        return {f"validation/{k}": v for k, v in scores.items()}

    def catch_up(self) -> None:
        """Score the averaged weights if the validation of the last checkpoint was interrupted."""
        if self.saves != self.validated and self.saves % VALIDATE_EVERY == 0:
            self._score()

    def _score(self) -> dict[str, float]:
        """Return the validation scores, and keep the best weights."""
        scores = self.validate()
        if scores:
            self.validated = self.saves
            self.best = improved(self.best, scores, self.step, self.ema, data_of(self.validation_data()))
            self.save()
        return scores

    def save(self) -> None:
        """Write the checkpoint, never a partial one."""
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "running": self.running,
            "begun_from": self.begun_from,
            "saves": self.saves,
            "mlflow_run": self.mlflow_run,
            "validated": self.validated,
            "best": None if self.best is None else vars(self.best),
        }
        with atomic.replacing(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def validation_data(self) -> list[Path | None]:
        """Return the files whose data are scored."""
        return [self.validation]

    def pictures(self) -> dict[str, np.ndarray]:
        """Return pictures of the last validation by name, shape (H, W, 3), uint8."""
        return {}

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the scores of the averaged weights by the description of the validation data."""
        return {self.scored: self.validate()}

    def centroids(self) -> dict[str, list[float]]:
        """Return the centroids (mm) of the structures in the atlas frame, where the network needs them."""
        return {}

    def card(self) -> dict[str, Any]:
        """Return the content of the model card."""
        scores = self.scores()
        return {
            "name": self.recipe.name,
            "kind": self.recipe.kind,
            "architecture": {"class": self.recipe.network, "arguments": self.recipe.architecture},
            "label_table": self.recipe.table,
            "spacing": self.recipe.stages[-1]["spacing"],
            "shape": self.recipe.stages[-1]["shape"],
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.digest,
            "training_data": self.recipe.data,
            "license": self.recipe.license,
            "steps": self.step,
            "selection": self.best.text(self.step) if self.best else "last step; no validation data",
            "hours": round(self.seconds / 3600, 2),
            "begun_from": self.begun_from,
            "coarse": self.recipe.coarse,
            "offset": self.recipe.offset,
            **({"encoder": self.encoder} if self.encoder else {}),
            "centroids": self.centroids(),
            "scores": scores,
        } | self.recipe.card

    def export(self) -> Path:
        """Write the best averaged weights in half precision with their card; return their path."""
        last = self.ema
        if self.best is not None and self.best.data != data_of(self.validation_data()):
            self.best = None
        self.ema = self.best.weights if self.best else last
        try:
            state = zoo.without_encoder(self.ema) if self.encoder else self.ema
            return zoo.save(
                self.folder, zoo.quantized(state) if self.recipe.eight_bits else state, self.card()
            )
        finally:
            self.ema = last

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError:
            raise UsageError(
                path,
                f"the checkpoint is of another network or architecture than the recipe {self.recipe.name}",
                "Give another --out, or the recipe of the checkpoint",
            ) from None
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, KeyError):
            raise UsageError(
                path,
                f"the checkpoint is of another optimizer than {self.recipe.optimizer}",
                "Give another --out with start=WEIGHTS, or the optimizer of the checkpoint",
            ) from None
        self.ema, self.step, self.seconds = state["ema"], state["step"], state["seconds"]
        self.running, self.begun_from = state["running"], state.get("begun_from", [])
        self.saves, self.mlflow_run = state.get("saves", 0), state.get("mlflow_run")
        self.best, self.validated = from_checkpoint(state.get("best")), state.get("validated", 0)
        print(f"resumed at step {self.step}", flush=True)

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of another network under the names of this network."""
        return state

    def _share(self, name: str) -> dict[str, str]:
        """Take the encoder of other weights, which does not train; return their name and SHA-256."""
        own, state = self.network.state_dict(), load_weights("shares", name).network.state_dict()
        missing = [k for k in zoo.encoder(own) if k not in state or state[k].shape != own[k].shape]
        if missing:
            raise UsageError(
                None,
                f"shares={name}: its encoder does not fit the architecture ({missing[0]})",
                "Give the recipe the inputs and channels of those weights",
            )
        self.network.load_state_dict(own | zoo.encoder(state))
        for key, parameter in self.network.named_parameters():
            parameter.requires_grad_(not zoo.encoder([key]))
        return {"name": name, "sha256": zoo.read_card(name)["sha256"]}

    def _start_from(self, names: list[str]) -> None:
        """Copy the tensors that fit from other weights; earlier names take precedence."""
        own = self.network.state_dict()
        for name in reversed(names):
            state = self.renamed(load_weights("start", name).network.state_dict())
            taken = {k: _fitted(v, own[k]) for k, v in state.items() if k in own and _fits(v, own[k])}
            own = own | taken
            self.begun_from = _ancestors(zoo.read_card(name), self.begun_from)
            print(f"started from {len(taken)} of {len(own)} tensors of {name}", flush=True)
        self.network.load_state_dict(own)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}


def load_weights(key: str, name: str) -> zoo.Model:
    """Load the weights ``name`` that a recipe gives under ``key``.

    Raises
    ------
    UsageError
        If there are no such weights.
    """
    try:
        return zoo.load(name)
    except zoo.ModelError as error:
        raise UsageError(
            None, f"{key}={name}: {error}", f"Set {key} to the name of weights or to a .safetensors file"
        ) from None


def _ancestors(card: dict[str, Any], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return weights, the weights that they started from, and others, each with its training time."""
    first = {k: card.get(k) for k in ("name", "sha256", "steps", "hours")}
    every = [first, *card.get("begun_from", []), *others]
    return list({one["sha256"]: one for one in every}.values())


def _fits(given: Tensor, own: Tensor) -> bool:
    """Return whether a tensor has the shape of another, or only lacks outputs."""
    if given.shape == own.shape:
        return True
    return given.dim() > 0 and given.shape[1:] == own.shape[1:] and len(given) < len(own)


def _fitted(given: Tensor, own: Tensor) -> Tensor:
    """Return a tensor followed by the current values of the outputs that it lacks."""
    return torch.cat([given, own[len(given) :]]) if given.dim() else given
