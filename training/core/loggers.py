"""Loggers of a training run; ``log.jsonl`` is written whether or not there are any."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image

from ...models.errors import UsageError
from .trainer import Trainer

MLFLOW = f"{__package__}.mlflow_logger:mlflow_logger"
"""Resolved only when a recipe names MLflow, which need not be installed."""


def draw(known: Sequence[Logger], pictures: Mapping[str, np.ndarray], step: int, folder: Path) -> None:
    """Write pictures of predictions into the folder of a run, and to TensorBoard.

    Parameters
    ----------
    known : sequence of Logger
        Loggers of the run.
    pictures : mapping of str to ndarray of uint8, shape (H, W, 3)
        Pictures by name.
    step : int
        Training step.
    folder : Path
        Folder of the run.
    """
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
        for logger in known:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(name, picture, step, dataformats="HWC")


def loggers(run: Trainer) -> list[Logger]:
    """Return the loggers that the recipe names; by default TensorBoard, where it is installed.

    Raises
    ------
    UsageError
        If a named logger is unknown or not installed.
    """
    wanted = run.recipe.loggers
    summary = {"recipe": run.recipe.name, "sha256": run.recipe.digest, "minutes": run.recipe.minutes}
    out: list[Logger] = []
    for name in ["tensorboard"] if wanted is None else wanted:
        try:
            if name == "tensorboard":
                out.append(TensorBoardLogger(run.folder, name="tensorboard", version=""))
                out[-1].log_hyperparams(summary)
            elif name == "mlflow":
                # Set before the import: no database is needed for a folder, and no telemetry is sent.
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
                os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
                out.append(resolve_name(MLFLOW)(run, summary))
            else:
                raise UsageError(None, f"unknown logger {name!r}", "Use tensorboard or mlflow")
        except ModuleNotFoundError as error:
            if wanted is not None:
                raise UsageError(
                    None,
                    f"the logger {name} is not installed ({error})",
                    "pip install 'brainseg-bids[train]'",
                ) from None
    return out
