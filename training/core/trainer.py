"""The trainer: resumable at any moment, its progress in logs that can be plotted.

Lightning runs the loop (:mod:`brainseg.training.core.lightning`); what a run is made of is here. Checkpoints
are a
plain dictionary of tensors and numbers, written beside and renamed, so that nothing is ever unpickled and
those of earlier versions go on.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models.errors import MissingFileError, UsageError
from ...models.io import atomic
from ...models.networks import zoo
from ...models.networks.device import precision
from ...models.networks.inference import as_prior
from ...models.networks.malloc import kept
from ...models.population import labels
from ..heads.examples import Cascade, Example, WholeHead
from ..heads.labelled_scans import Mixed
from ..heads.validation import Scans, synthetic_scores
from ..losses.segmentation import border_loss, distance_loss, segmentation_loss, side_loss
from ..synthesis.generator import GeneratorConfig, HeadGenerator
from .recipe import Recipe

VALIDATE_EVERY = 4
"""Checkpoints between validations."""


class Trainer:
    """Trains the network of a recipe and exports its weights with a card.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    data : Path
        Prepared arrays for training.
    folder : Path
        Checkpoint, logs and exported weights go here; an existing checkpoint is continued.
    validation : Path, optional
        Prepared arrays that never train; scores on synthetic images of them are logged.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    scans : Path, optional
        Real scans with their labels (:func:`brainseg.training.heads.validation.prepare_scans`) that never
        train;
        scores on them are logged too.
    labelled : Path, optional
        Real scans with labels, of the same form, that train: the recipe's share ``real`` of the examples.

    Attributes
    ----------
    step : int
        Steps made.
    seconds : float
        Time spent in them; what a checkpoint or a validation takes does not count.
    ema : dict of str to Tensor
        Running mean of the weights: what is validated and exported.
    mlflow_run : str or None
        The run's id at MLflow, under which it goes on.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
        scans: Path | None = None,
        labelled: Path | None = None,
    ) -> None:
        self.labelled = labelled
        self.recipe, self.folder, self.device = recipe, folder, device
        self.data, self.validation = data, validation
        self.scans = None if scans is None else Scans(scans)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.table = labels.load(recipe.table)
        self.network = _built(recipe).to(device, memory_format=torch.channels_last_3d)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.rate, weight_decay=1e-4)
        self.step, self.seconds, self.running, self.saves = 0, 0.0, {}, 0
        self.begun_from: list[dict[str, Any]] = []
        self.mlflow_run: str | None = None
        self.tissue_of = torch.from_numpy(self.table.tissue_of).long().to(device)
        weights = [recipe.class_weights.get(i, 1.0) for i in self.table.unsided]
        self.class_weights = torch.tensor(weights, device=device)
        self._stage: dict[str, Any] | None = None
        self._source: WholeHead | Cascade | Mixed | None = None
        self.coarse = None
        if recipe.coarse:
            self.coarse = _weights("coarse", recipe.coarse).network.to(
                device, memory_format=torch.channels_last_3d
            )
        if (folder / "checkpoint.pt").exists():
            self._resume()
        elif recipe.start:
            self._start_from([recipe.start] if isinstance(recipe.start, str) else recipe.start)

    @property
    def share(self) -> float:
        """Part of the recipe's time that is spent."""
        return self.seconds / (self.recipe.minutes * 60)

    def run(self, clock: Callable[[], float] = time.monotonic) -> Path:
        """Train until the recipe's minutes are spent, then export; returns the weights' path.

        Raises
        ------
        MissingFileError
            If Lightning is not installed.
        """
        try:
            from .lightning import fit
        except ModuleNotFoundError as error:
            raise MissingFileError(
                None, f"training needs {error.name}", "pip install 'brainseg-bids[train]'"
            ) from None
        if self.share < 1:
            with kept():
                fit(self, clock)
        return self.export()

    def source(self) -> WholeHead | Cascade | Mixed:
        """The examples of the present stage."""
        wanted = next(s for s in self.recipe.stages if min(self.share, 1) <= s["until"])
        if self._source is None or wanted is not self._stage:
            self._stage, self._source = wanted, self.samples(wanted, self.data)
            if self.recipe.real and self.labelled is not None:
                self._source = Mixed(self._source, self.labelled, self.recipe.real)
            print(f"stage {wanted}", flush=True)
        return self._source

    def samples(self, stage: dict[str, Any], data: Path) -> WholeHead | Cascade:
        """The examples of a stage."""
        changes = self.recipe.generator | {
            k: v for k, v in stage.items() if k in GeneratorConfig.__dataclass_fields__
        }
        generator = HeadGenerator(data, replace(GeneratorConfig(), **changes), self.device)
        if self.recipe.kind == "whole-head":
            return WholeHead(generator, tuple(stage["shape"]), stage["spacing"], table=self.recipe.table)
        return Cascade(
            WholeHead(generator, table=self.recipe.table),
            self.coarse,
            stage["shape"],
            stage["spacing"],
            self.recipe.spread,
            self.recipe.context,
            self.recipe.repeat,
            self.recipe.offset,
        )

    def losses(self, out: dict[str, tuple[Tensor, Tensor]], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every weighted loss of the recipe."""
        found = {}
        for name, weight in self.recipe.losses.items():
            if name in ("structure", "tissue"):
                found[name] = weight * self._decoder_loss(name, weight, out[name], targets)
            elif name == "hierarchical":
                continue  # counted with the structures, which share its softmax
            elif name == "distance":
                found[name] = weight * distance_loss(out["mask"][0][:, 0] * 10, targets["distance"])
            elif name == "border":
                found[name] = weight * border_loss(out["mask"][0][:, 0] * 10, targets["distance"])
            elif name == "side":
                found[name] = weight * side_loss(out["mask"][0][:, 1], targets["side"])
            else:
                raise ValueError(f"recipe {self.recipe.name}: unknown loss {name!r}")
        return found

    def _decoder_loss(self, name: str, weight: float, logits, targets: dict[str, Tensor]) -> Tensor:
        """Loss of one decoder at full and at half resolution, the hierarchical one with the structures'."""
        full, low = logits
        target = targets[name]
        class_weights = self.class_weights if name == "structure" else None
        hierarchy = None
        if name == "structure" and "hierarchical" in self.recipe.losses:
            hierarchy = (targets["tissue"], self.tissue_of, self.recipe.losses["hierarchical"] / weight)
        small = target[:, ::2, ::2, ::2].contiguous()
        return segmentation_loss(full, target, class_weights, hierarchy) + 0.3 * segmentation_loss(
            low, small, class_weights
        )

    def forward(self, example: Example) -> dict[str, tuple[Tensor, Tensor]]:
        """Run the network as it will be run: twice, if it is trained for that."""
        x = example.x.contiguous(memory_format=torch.channels_last_3d)
        dtype = precision(self.device)
        with torch.autocast(self.device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
            return self.network(x, self.own_prior(x, example.prior) if self.recipe.again else example.prior)

    @torch.no_grad()
    def own_prior(self, x: Tensor, prior: Tensor | None) -> Tensor:
        """What the network finds at its first look, as prior of the second."""
        return as_prior(self.network(x, prior)["structure"][0].float().softmax(1))

    def note(self, parts: dict[str, Tensor]) -> None:
        """Take losses into their running means."""
        for k, v in parts.items():
            value = float(v.detach())
            self.running[k] = 0.98 * self.running[k] + 0.02 * value if k in self.running else value

    def average(self) -> None:
        """Take the weights into their running mean."""
        keep = min(0.998, self.step / (self.step + 20))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].mul_(keep).add_(v, alpha=1 - keep)
                else:
                    self.ema[k].copy_(v)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights and the same random numbers every time; afterwards all is as before."""
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

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Scores of the averaged weights: by structure on synthetic heads, ``real/...`` on real scans."""
        if self.validation is None and self.scans is None:
            return {}
        with self.averaged():
            scores: dict[str, float] = {}
            if self.validation is not None:
                scores |= synthetic_scores(self, self.samples(self.recipe.stages[-1], self.validation), heads)
            if self.scans is not None:
                scores |= {f"real/{k}": v for k, v in self.scans.scores(self).items()}
        return scores

    def checkpoint(self, last: bool = False) -> dict[str, float]:
        """Save, with scores at every fourth time and at the last; returns them by the loggers' names."""
        self.saves += 1
        # First of all: a validation takes long, and a kill in it is to cost no steps.
        self.save()
        scores = self.validate() if last or self.saves % VALIDATE_EVERY == 0 else {}
        record = {"step": self.step, "seconds": round(self.seconds), "loss": self.running, "scores": scores}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        if scores:
            print("validation " + " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
        return {f"validation/{k}": v for k, v in scores.items()}

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
        }
        with atomic.replacing(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def export(self) -> Path:
        """Write the averaged weights in half precision with their card; returns the weights' path."""
        scores = {self._scored(): self.validate()}
        if self.scans is not None:
            found = scores[self._scored()]
            real = {k.removeprefix("real/"): found.pop(k) for k in list(found) if k.startswith("real/")}
            scores[f"real scans ({len(self.scans)})"] = real
        card = {
            "name": self.recipe.name,
            "architecture": {"class": self.recipe.network, "arguments": self.recipe.architecture},
            "label_table": self.recipe.table,
            "spacing": self.recipe.stages[-1]["spacing"],
            "shape": self.recipe.stages[-1]["shape"],
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.digest,
            "training_data": self.recipe.data,
            "licence": self.recipe.licence,
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "begun_from": self.begun_from,
            "coarse": self.recipe.coarse,
            "offset": self.recipe.offset,
            "centroids": self._centroids(),
            "scores": scores,
        } | self.recipe.card
        if self.recipe.again:
            card["looks"] = 2
        return zoo.save(self.folder, self.ema, card)

    def _scored(self) -> str:
        return "held-out label maps, synthetic images"

    def _centroids(self) -> dict[str, list[float]]:
        """Where the structures lie in the atlas frame (mm)."""
        with np.load(self.data) as arrays:
            found = json.loads(str(arrays["meta"]))["centroids"]
        return {k: [round(c, 2) for c in point] for k, point in found.items()}

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        state = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError:
            raise UsageError(
                path,
                f"it is of another network or architecture than the recipe {self.recipe.name}",
                "Give another --out, or the recipe with which it was begun",
            ) from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.seconds = state["ema"], state["step"], state["seconds"]
        self.running, self.begun_from = state["running"], state.get("begun_from", [])
        self.saves, self.mlflow_run = state.get("saves", 0), state.get("mlflow_run")
        print(f"resumed at step {self.step}", flush=True)

    def _renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of another network by the names that they have in this one."""
        return state

    def _start_from(self, names: list[str]) -> None:
        """Take the tensors that fit from shipped weights; earlier names go first."""
        own = self.network.state_dict()
        for name in reversed(names):
            state = self._renamed(_weights("start", name).network.state_dict())
            taken = {k: _fitted(v, own[k]) for k, v in state.items() if k in own and _fits(v, own[k])}
            own = own | taken
            self.begun_from = _ancestors(zoo.read_card(name), self.begun_from)
            print(f"started from {len(taken)} of {len(own)} tensors of {name}", flush=True)
        self.network.load_state_dict(own)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}


def _built(recipe: Recipe) -> torch.nn.Module:
    """The network of a recipe."""
    try:
        return zoo.ARCHITECTURES[recipe.network](**recipe.architecture)
    except TypeError as error:
        takes = ", ".join(inspect.signature(zoo.ARCHITECTURES[recipe.network]).parameters)
        raise UsageError(
            None,
            f"recipe {recipe.name}: its architecture is none of a {recipe.network} ({error})",
            f"That takes {takes}",
        ) from None


def _weights(key: str, name: str) -> zoo.Model:
    """Weights that a recipe names under ``key``."""
    try:
        return zoo.load(name)
    except zoo.ModelError as error:
        raise UsageError(
            None, f"{key}={name}: {error}", f"Give {key} a name, or a .safetensors file"
        ) from None


def _ancestors(card: dict[str, Any], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Weights with those that they began from, then others; what trained how long."""
    first = {k: card.get(k) for k in ("name", "sha256", "steps", "hours")}
    every = [first, *card.get("begun_from", []), *others]
    return list({one["sha256"]: one for one in every}.values())


def _fits(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor is of the wanted shape, or lacks outputs only."""
    if given.shape == own.shape:
        return True
    return given.dim() > 0 and given.shape[1:] == own.shape[1:] and len(given) < len(own)


def _fitted(given: Tensor, own: Tensor) -> Tensor:
    """A tensor, followed by the present values of the outputs that it lacks."""
    return torch.cat([given, own[len(given) :]]) if given.dim() else given
