"""The training loop: Lightning runs the steps, a callback does the work between them.

It needs the packages of the extra ``train``.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ...models.errors import UsageError
from ...models.networks.device import precision
from ...models.networks.malloc import kept
from . import optimizers
from .dataloader import Stream
from .example import Example
from .loggers import draw, loggers
from .trainer import Trainer

PRECISION: dict[torch.dtype, Any] = {
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
    torch.float32: "32-true",
}

LOG_EVERY = 20
"""Training steps between two lines of progress."""

CLIP = 5.0
"""Maximum norm of the gradient."""


class Task(pl.LightningModule):
    """A training step: the recipe's losses of an example.

    Parameters
    ----------
    run : Trainer
        State of the run.
    """

    def __init__(self, run: Trainer) -> None:
        super().__init__()
        self.network: torch.nn.Module = _compiled(run) if run.recipe.compile else run.network
        # A tuple, so that Lightning does not inspect it.
        self._run = (run,)

    def training_step(self, example: Example, _: int) -> Tensor:
        """Return the sum of the weighted losses; Lightning sets the precision of the arithmetic."""
        run = self._run[0]
        x = example.x.contiguous(memory_format=torch.channels_last_3d)
        out = self.network(x, run.prior(x, example.prior, training=True))
        with torch.autocast(self.device.type, enabled=False):
            parts = run.losses(out, example.targets)
        run.note(parts)
        return torch.stack(list(parts.values())).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradient is not finite, which bfloat16 kernels produce in rare cases."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if not all(bool(g.isfinite().all()) for g in gradients):
            optimizer.zero_grad(set_to_none=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of the run, whose state can come from a checkpoint."""
        return self._run[0].optimizer


def _compiled(run: Trainer) -> torch.nn.Module:
    """Return the network as compiled by torch; it shares its weights with the one that is saved.

    Raises
    ------
    UsageError
        If there is no C++ compiler, which the compilation for a CPU needs.
    """
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if run.device == "cpu" and not any(map(shutil.which, compilers)):
        raise UsageError(None, "compile: true needs a C++ compiler", "Install g++, or set compile=false")
    network: Any = torch.compile(run.network)
    return network


class Pace(pl.Callback):
    """Training time, learning rate, averaged weights, checkpoints and progress.

    Parameters
    ----------
    run : Trainer
        State of the run.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(self, run: Trainer, clock: Callable[[], float]) -> None:
        self.run, self.clock = run, clock
        self.began = self.saved = clock()
        self.bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock once everything is loaded."""
        self.began = self.saved = self.clock()
        if sys.stderr.isatty():
            self.bar = _progress_bar(self.run)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Set the learning rate: a warm-up, then the recipe's schedule over the training time."""
        run = self.run
        rate = optimizers.rate(run.recipe.schedule, run.recipe.rate, run.step, run.share)
        for group in run.optimizer.param_groups:
            group["lr"] = rate

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Count the step and its time; report, save and stop when due."""
        run = self.run
        run.step += 1
        run.average()
        now = self.clock()
        run.seconds += now - self.began
        self.began = now
        if run.step % LOG_EVERY == 0:
            self._report(trainer)
        if now - self.saved > run.recipe.checkpoint_seconds:
            self._log(trainer, run.checkpoint())
            self.saved = self.began = self.clock()
        if run.share >= 1:
            trainer.should_stop = True

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, error: BaseException) -> None:
        """Save when the run is interrupted by the user or a batch system."""
        if not isinstance(error, Exception) or type(error).__name__ == "SIGTERMException":
            self.run.save()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the last checkpoint, with scores."""
        self._log(trainer, self.run.checkpoint(last=True))
        if self.bar is not None:
            self.bar.close()

    def _report(self, trainer: pl.Trainer) -> None:
        run = self.run
        rate = run.optimizer.param_groups[0]["lr"]
        self._log(trainer, {f"loss/{k}": v for k, v in run.running.items()} | {"rate": rate})
        parts = " ".join(f"{k} {v:.3f}" for k, v in run.running.items())
        if self.bar is not None:
            self.bar.set_postfix_str(f"step {run.step} {parts}", refresh=False)
            self.bar.update(run.seconds - self.bar.n)
            return
        left = run.recipe.minutes - run.seconds / 60
        pace = run.seconds / max(run.step, 1)
        print(f"step {run.step} {pace:.2f} s/step left {left:.0f} min {parts}", flush=True)

    def _log(self, trainer: pl.Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, self.run.step)
        if any(name.startswith("validation/") for name in values):
            draw(trainer.loggers, self.run.pictures(), self.run.step, self.run.folder)


def train(run: Trainer, clock: Callable[[], float] | None = None) -> Path:
    """Train until the recipe's training time is spent, then export the weights.

    Parameters
    ----------
    run : Trainer
        State of the run; a run whose time is spent is only exported.
    clock : callable, optional
        Returns the time in seconds; by default the clock of the trainer.

    Returns
    -------
    Path
        File of the weights.

    Raises
    ------
    UsageError
        If a logger that the recipe names is unknown or not installed.
    """
    if run.share < 1:
        with kept():
            fit(run, clock or run.clock)
    return run.export()


def fit(run: Trainer, clock: Callable[[], float]) -> None:
    """Train until the recipe's training time is spent.

    Parameters
    ----------
    run : Trainer
        State of the run.
    clock : callable
        Returns the time in seconds.
    """
    silence()
    run.catch_up()
    stream = Stream(
        run.source,
        seed=run.recipe.seed,
        batch=run.recipe.batch,
        first=run.step,
    )
    kind, _, number = run.device.partition(":")
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(kind, kind),
        devices=[int(number or 0)] if kind == "cuda" else 1,
        precision=PRECISION[precision(run.device)],
        max_epochs=-1,
        gradient_clip_val=CLIP,
        logger=loggers(run) or False,
        callbacks=[Pace(run, clock)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.folder,
    )
    trainer.fit(Task(run), DataLoader(stream, batch_size=None))


def silence() -> None:
    """Silence Lightning's messages about hardware, workers and loggers, which are for other uses of it."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def _progress_bar(run: Trainer) -> tqdm:
    form = "{l_bar}{bar}| {elapsed}, left {remaining} {postfix}"
    return tqdm(total=run.recipe.minutes * 60, initial=run.seconds, bar_format=form, desc=run.recipe.name)
