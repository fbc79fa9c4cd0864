"""The best weights of a run: those with the highest validation score, which are exported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


def criterion(scores: Mapping[str, float]) -> float:
    """Return the score that selects the weights, NaN if there is none.

    It is the mean over real scans where they are scored, otherwise over the validation data; a score of the
    brain mask counts as much as the mean over the structures.

    Parameters
    ----------
    scores : mapping of str to float
        Scores of a validation by name.

    Examples
    --------
    >>> criterion({"17": 0.5, "mean": 0.5, "mask": 1.0}), criterion({"mean": 0.8, "real/mean": 0.7})
    (0.75, 0.7)
    """
    for before in ("real/", ""):
        found = [scores[before + name] for name in ("mean", "mask") if before + name in scores]
        if found:
            return sum(found) / len(found)
    return math.nan


def data_of(paths: Sequence[Path | None]) -> str:
    """Return a text that changes with the validation data, of which scores can be compared."""
    return "; ".join(f"{path.resolve()} {path.stat().st_size}" for path in paths if path and path.is_file())


@dataclass
class Best:
    """The best weights so far.

    Attributes
    ----------
    score : float
        Their :func:`criterion`.
    step : int
        Training step.
    weights : dict of str to Tensor
        The averaged weights.
    data : str
        Validation data, see :func:`data_of`.
    validations : int
        Number of validations that were compared.
    """

    score: float
    step: int
    weights: dict[str, Tensor]
    data: str
    validations: int = 1

    def text(self, last: int) -> str:
        """Return how the weights were selected, for the model card."""
        return (
            f"step {self.step} of {last}, the best of {self.validations} validations; the scores are of the "
            "data that selected it"
        )


def improved(
    best: Best | None, scores: Mapping[str, float], step: int, weights: Mapping[str, Tensor], data: str
) -> Best | None:
    """Return the best weights after a validation.

    Parameters
    ----------
    best : Best or None
        The best before; scores of other data are not compared with.
    scores : mapping of str to float
        Scores of the validation.
    step : int
        Training step.
    weights : mapping of str to Tensor
        Weights that were validated; they are copied.
    data : str
        Validation data.
    """
    value = criterion(scores)
    if best is not None and best.data != data:
        best = None
    if math.isnan(value):
        return best
    count = 1 + (best.validations if best else 0)
    if best is not None and value < best.score:
        best.validations = count
        return best
    return Best(value, step, {k: v.detach().clone() for k, v in weights.items()}, data, count)


def from_checkpoint(state: Mapping[str, Any] | None) -> Best | None:
    """Return the best weights of a checkpoint; those of earlier versions have none."""
    return Best(**state) if state else None
