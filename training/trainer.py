"""The trainer: one process, resumable at any moment, its progress in a log that can be plotted."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import labels, zoo
from ..models.networks import StemUNet
from .generator import GeneratorConfig, HeadGenerator
from .losses import border_loss, distance_loss, segmentation_loss, side_loss
from .recipe import Recipe
from .samples import Cascade, Example, WholeHead

CHECKPOINT_EVERY = 180.0
"""Seconds between checkpoints."""

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
        Checkpoint, log and exported weights go here; an existing checkpoint is continued.
    validation : Path, optional
        Prepared arrays that never train; scores are logged with every checkpoint.
    device : str
        ``cpu`` or ``cuda``.
    """

    def __init__(
        self, recipe: Recipe, data: Path, folder: Path, validation: Path | None = None, device: str = "cpu"
    ) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self.data, self.validation = data, validation
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.table = labels.load(recipe.table)
        self.network = StemUNet(**recipe.architecture).to(device, memory_format=torch.channels_last_3d)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.rate, weight_decay=1e-4)
        self.step, self.seconds, self.running, self.saves = 0, 0.0, {}, 0
        self.tissue_of = torch.from_numpy(self.table.tissue_of).long().to(device)
        weights = [recipe.class_weights.get(i, 1.0) for i in self.table.unsided]
        self.class_weights = torch.tensor(weights, device=device)
        self.coarse = None
        if recipe.coarse:
            self.coarse = zoo.load(recipe.coarse).network.to(device, memory_format=torch.channels_last_3d)
        if (folder / "checkpoint.pt").exists():
            self._resume()
        elif recipe.start:
            self._start_from([recipe.start] if isinstance(recipe.start, str) else recipe.start)

    def run(self) -> None:
        """Train until the recipe's minutes are spent, then export."""
        stage, source = None, None
        last = began = time.monotonic()
        while self.seconds < self.recipe.minutes * 60:
            share = self.seconds / (self.recipe.minutes * 60)
            wanted = next(s for s in self.recipe.stages if share <= s["until"])
            if wanted is not stage:
                stage, source = wanted, iter(self.samples(wanted, self.data))
                print(f"stage {stage}", flush=True)
            self._train_step(next(source), share)
            now = time.monotonic()
            self.seconds += now - began
            began = now
            if self.step % 20 == 0:
                self._log()
            if now - last > CHECKPOINT_EVERY:
                self.saves += 1
                self.save(validate=self.saves % VALIDATE_EVERY == 0)
                last = began = time.monotonic()
        self.save()
        self.export()

    def samples(self, stage: dict[str, Any], data: Path) -> WholeHead | Cascade:
        """The examples of a stage."""
        changes = self.recipe.generator | {
            k: v for k, v in stage.items() if k in GeneratorConfig.__dataclass_fields__
        }
        generator = HeadGenerator(data, replace(GeneratorConfig(), **changes), self.device)
        if self.recipe.kind == "whole-head":
            return WholeHead(generator, tuple(stage["shape"]), stage["spacing"])
        whole = WholeHead(generator)
        return Cascade(
            whole,
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
                full, low = out[name]
                class_weights = self.class_weights if name == "structure" else None
                target = targets[name]
                hierarchy = None
                if name == "structure" and "hierarchical" in self.recipe.losses:
                    share = self.recipe.losses["hierarchical"] / weight
                    hierarchy = (targets["tissue"], self.tissue_of, share)
                found[name] = weight * segmentation_loss(full, target, class_weights, hierarchy)
                small = target[:, ::2, ::2, ::2].contiguous()
                found[name] = found[name] + 0.3 * weight * segmentation_loss(low, small, class_weights)
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

    def forward(self, example: Example) -> dict[str, tuple[Tensor, Tensor]]:
        """Run the network in bfloat16."""
        x = example.x.to(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            return self.network(x, example.prior)

    def _train_step(self, example: Example, share: float) -> None:
        rate = (
            self.recipe.rate * min(1, (self.step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * share)) + 0.005)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self.losses(self.forward(example), example.targets)
        loss = sum(parts.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.998, self.step / (self.step + 20))
        for k, v in self.network.state_dict().items():
            self.ema[k].mul_(keep).add_(v, alpha=1 - keep)
        for k, v in parts.items():
            value = float(v.detach())
            self.running[k] = 0.98 * self.running[k] + 0.02 * value if k in self.running else value

    def _log(self) -> None:
        left = self.recipe.minutes - self.seconds / 60
        parts = " ".join(f"{k} {v:.3f}" for k, v in self.running.items())
        print(
            f"step {self.step} {self.seconds / max(self.step, 1):.2f} s/step left {left:.0f} min {parts}",
            flush=True,
        )

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Dice by structure on synthetic heads from label maps that never train."""
        from .metrics import dice_by_class

        if self.validation is None:
            return {}
        state = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.ema)
        rng = torch.get_rng_state()
        torch.manual_seed(1)
        stage = self.recipe.stages[-1]
        source = self.samples(stage, self.validation)
        scores: dict[str, list[float]] = {}
        for number in range(heads):
            example = source.examples(number)[0] if isinstance(source, Cascade) else source.example(number)[0]
            out = self.forward(example)
            if "structure" in out:
                found = dice_by_class(out["structure"][0].argmax(1), example.targets["structure"])
                for k, v in found.items():
                    scores.setdefault(str(self.table.unsided[k]), []).append(v)
            if "distance" in self.recipe.losses:
                inside = out["mask"][0][:, 0] > 0
                truth = example.targets["distance"] > 0
                overlap = 2 * (inside & truth).sum() / (inside.sum() + truth.sum())
                scores.setdefault("mask", []).append(float(overlap))
        self.network.load_state_dict(state)
        torch.set_rng_state(rng)
        mean = {k: sum(v) / len(v) for k, v in scores.items()}
        structures = [v for k, v in mean.items() if k != "mask"]
        if structures:
            mean["mean"] = sum(structures) / len(structures)
        return mean

    def save(self, validate: bool = True) -> None:
        """Write the checkpoint, never a partial one, and the log with the validation scores."""
        scores = self.validate() if validate else {}
        record = {"step": self.step, "seconds": round(self.seconds), "loss": self.running, "scores": scores}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        if scores:
            print("validation " + " ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "running": self.running,
            "random": torch.get_rng_state(),
        }
        partial = self.folder / "checkpoint.pt.part"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")

    def export(self) -> Path:
        """Write the averaged weights in half precision with their card; returns the weights' path."""
        card = {
            "name": self.recipe.name,
            "architecture": {"class": "StemUNet", "arguments": self.recipe.architecture},
            "label_table": self.recipe.table,
            "spacing": self.recipe.stages[-1]["spacing"],
            "shape": self.recipe.stages[-1]["shape"],
            "recipe": self.recipe.name,
            "recipe_sha256": self.recipe.digest,
            "training_data": self.recipe.data,
            "licence": self.recipe.licence,
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "coarse": self.recipe.coarse,
            "offset": self.recipe.offset,
            "centroids": self._centroids(),
            "scores": {"held-out label maps, synthetic images": self.validate()},
        }
        return zoo.save(self.folder, self.ema, card)

    def _centroids(self) -> dict[str, list[float]]:
        """Where the structures lie in the atlas frame (mm)."""
        with np.load(self.data) as arrays:
            found = json.loads(str(arrays["meta"]))["centroids"]
        return {k: [round(c, 2) for c in point] for k, point in found.items()}

    def _resume(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.seconds = state["ema"], state["step"], state["seconds"]
        self.running = state["running"]
        torch.set_rng_state(state["random"].cpu())
        print(f"resumed at step {self.step}", flush=True)

    def _start_from(self, names: list[str]) -> None:
        """Take the tensors that fit from shipped weights; earlier names go first."""
        own = self.network.state_dict()
        for name in reversed(names):
            state = zoo.load(name).network.state_dict()
            taken = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
            own = own | taken
            print(f"started from {len(taken)} of {len(own)} tensors of {name}", flush=True)
        self.network.load_state_dict(own)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
