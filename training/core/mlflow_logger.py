"""The MLflow logger of a training run."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from mlflow.exceptions import MlflowException

from .trainer import Trainer


def mlflow_logger(run: Trainer, summary: dict[str, Any]) -> MLFlowLogger:
    """Return the logger, which continues the run in MLflow unless it was deleted there.

    Parameters
    ----------
    run : Trainer
        State of the run; its ``mlflow_run`` is updated.
    summary : dict of str to Any
        Hyperparameters to log for a new run in MLflow.
    """
    uri = run.recipe.tracking_uri or (run.folder / "mlruns").absolute().as_uri()
    logger = _continued(run, uri) or MLFlowLogger(run.recipe.name, tracking_uri=uri)
    if logger.run_id != run.mlflow_run:
        # Only once: MLflow refuses to change values later, such as the minutes.
        logger.log_hyperparams(summary)
        run.mlflow_run = logger.run_id
    return logger


def _continued(run: Trainer, uri: str) -> MLFlowLogger | None:
    if run.mlflow_run is None:
        return None
    logger = MLFlowLogger(run.recipe.name, tracking_uri=uri, run_id=run.mlflow_run)
    try:
        stage = logger.experiment.get_run(run.mlflow_run).info.lifecycle_stage
    except MlflowException:
        return None
    return logger if stage == "active" else None
