"""The training run as Lightning sees it: one step, and what happens between steps."""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...models.errors import UsageError
from ...models.networks.device import precision
from .dataloader import Stream

if TYPE_CHECKING:
    from ..heads.examples import Example
    from .trainer import Trainer

PRECISION = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", torch.float32: "32-true"}

LOG_EVERY = 20
"""Steps between lines of progress."""

CLIP = 5.0
"""Largest norm of the gradient."""

WARM_UP = 100
"""Steps in which the learning rate rises."""


class Task(pl.LightningModule):
    """One step: the recipe's losses of an example, and the running mean of the weights."""

    def __init__(self, run: Trainer) -> None:
        super().__init__()
        self.network = run.network
        # In a tuple, so that Lightning does not look into it.
        self._run = (run,)

    def training_step(self, example: Example, _: int) -> Tensor:
        """Sum of the weighted losses; Lightning has set the precision of the network's arithmetic."""
        run = self._run[0]
        x, prior = example.x.contiguous(memory_format=torch.channels_last_3d), example.prior
        if run.recipe.again and float(torch.rand(())) < run.recipe.again:
            prior = run.own_prior(x, prior)
        out = self.network(x, prior)
        with torch.autocast(self.device.type, enabled=False):
            parts = run.losses(out, example.targets)
        run.note(parts)
        return torch.stack(list(parts.values())).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave out a step whose gradient holds what is no number: bfloat16 kernels give such, rarely."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if not all(bool(g.isfinite().all()) for g in gradients):
            optimizer.zero_grad(set_to_none=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The run's own optimizer: its state may come from a checkpoint."""
        return self._run[0].optimizer


class Pace(pl.Callback):
    """Time, learning rate, averaged weights, checkpoints and progress.

    Parameters
    ----------
    run : Trainer
        Whose state is kept.
    clock : callable
        Seconds from some start.
    """

    def __init__(self, run: Trainer, clock: Callable[[], float]) -> None:
        self.run, self.clock = run, clock
        self.began = self.saved = clock()
        self.bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The clock starts when everything is loaded."""
        self.began = self.saved = self.clock()
        if sys.stderr.isatty():
            self.bar = _bar(self.run)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Warm-up by steps, then a cosine over the recipe's time, whatever interrupted it."""
        run = self.run
        rate = run.recipe.rate * min(1, (run.step + 1) / WARM_UP)
        for group in run.optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * min(run.share, 1))) + 0.005)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Count the step and its time; save, say and stop when it is time to."""
        run = self.run
        run.step += 1
        run.average()
        now = self.clock()
        run.seconds += now - self.began
        self.began = now
        if run.step % LOG_EVERY == 0:
            self._say(trainer)
        if now - self.saved > run.recipe.checkpoint_seconds:
            self._log(trainer, run.checkpoint())
            self.saved = self.began = self.clock()
        if run.share >= 1:
            trainer.should_stop = True

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, error: BaseException) -> None:
        """Stopped by hand or by a batch system: nothing is lost."""
        if not isinstance(error, Exception) or type(error).__name__ == "SIGTERMException":
            self.run.save()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The last checkpoint, with scores."""
        self._log(trainer, self.run.checkpoint(last=True))
        if self.bar is not None:
            self.bar.close()

    def _say(self, trainer: pl.Trainer) -> None:
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


def fit(run: Trainer, clock: Callable[[], float]) -> None:
    """Train until the recipe's time is spent."""
    quieten()
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


def loggers(run: Trainer) -> list[Any]:
    """The loggers that the recipe names; without a name TensorBoard, where it is installed.

    Raises
    ------
    UsageError
        If one that is named is unknown or not installed.
    """
    wanted = run.recipe.loggers
    out = []
    for name in ["tensorboard"] if wanted is None else wanted:
        try:
            if name == "tensorboard":
                out.append(pl.loggers.TensorBoardLogger(run.folder, name="tensorboard", version=""))
            elif name == "mlflow":
                out.append(_mlflow(run))
            else:
                raise UsageError(None, f"unknown logger {name!r}", "Use tensorboard or mlflow")
        except ModuleNotFoundError as error:
            if wanted is not None:
                raise UsageError(
                    None,
                    f"the logger {name} is not installed ({error})",
                    "pip install 'brainseg-bids[train]'",
                ) from None
    told = {"recipe": run.recipe.name, "sha256": run.recipe.digest, "minutes": run.recipe.minutes}
    for logger in out:
        if not isinstance(logger, pl.loggers.MLFlowLogger):
            logger.log_hyperparams(told)
        elif logger.run_id != run.mlflow_run:
            # Once only: MLflow refuses other values later, such as more minutes.
            logger.log_hyperparams(told)
            run.mlflow_run = logger.run_id
    return out


def _mlflow(run: Trainer) -> Any:
    """MLflow's logger: what a run that goes on showed is continued, unless it was deleted there."""
    # A folder needs no database; and nothing is told to anybody.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = run.recipe.tracking_uri or (run.folder / "mlruns").absolute().as_uri()
    own = {"experiment_name": run.recipe.name, "tracking_uri": uri}
    if run.mlflow_run is None:
        return pl.loggers.MLFlowLogger(**own)
    from mlflow.exceptions import MlflowException

    logger = pl.loggers.MLFlowLogger(**own, run_id=run.mlflow_run)
    try:
        there = logger.experiment.get_run(run.mlflow_run).info.lifecycle_stage == "active"
    except MlflowException:
        there = False
    return logger if there else pl.loggers.MLFlowLogger(**own)


def quieten() -> None:
    """Hush what Lightning says of hardware, workers and loggers: it is meant for other uses of it."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def _bar(run: Trainer) -> Any:
    from tqdm import tqdm

    form = "{l_bar}{bar}| {elapsed}, left {remaining} {postfix}"
    return tqdm(total=run.recipe.minutes * 60, initial=run.seconds, bar_format=form, desc=run.recipe.name)
