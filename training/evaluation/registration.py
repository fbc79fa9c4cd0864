"""Scores of registrations: overlap of labels and smoothness, as Learn2Reg defines them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...models.deformation.warp import Warp
from ...models.errors import InputError
from ...models.geometry.volume import Grid, Volume
from ...models.io import itk, learn2reg
from ...models.registration.label_transfer import transfer
from .label_files import read_labels
from .metrics import agreement
from .segmentation import write
from .surface_distance import robust_hausdorff

WORST = 0.3
"""Share of the pairs in the mean of the lowest scores."""


def pair_scores(
    forward: Warp, moving: Volume, fixed: Volume, smoothing: float | None = None
) -> dict[str, float]:
    """Return the scores of the registration of a pair.

    Parameters
    ----------
    forward : Warp
        Transform that resamples the moving image onto the fixed image.
    moving, fixed : Volume of integers
        Labels of both images.
    smoothing : float, optional
        Standard deviation (mm) of the smoothing of the label maps, of which the maximum gives the label; by
        default labels are resampled by nearest neighbor, as in Learn2Reg.

    Returns
    -------
    dict
        ``dice`` and ``hd95_mm`` (Learn2Reg's,
        :func:`brainseg.training.evaluation.surface_distance.robust_hausdorff`; means over
        the fixed image's labels), ``sd_log_jacobian`` and ``folds`` (share of voxels), both over the fixed
        image's grid.
    """
    if smoothing is None:
        moved = forward.resample(moving, fixed.grid, "nearest").data.numpy()
    else:
        moved = transfer(forward, moving, fixed.grid, smoothing).data.numpy()
    truth = fixed.data.numpy()
    both = [(truth == index, moved == index) for index in np.unique(truth[truth > 0])]
    distances = [robust_hausdorff(*masks, fixed.grid.spacing) for masks in both]
    return {
        "dice": float(np.mean([agreement(*masks, surfaces=False).dice for masks in both])),
        "hd95_mm": float(np.mean(distances)),
    } | spread_of(forward.jacobian(_within(fixed.grid)).data.numpy())


def _within(grid: Grid) -> Grid:
    """Return the grid without its last planes, where the field has no differences."""
    x, y, z = (max(n - 1, 1) for n in grid.shape)
    return Grid((x, y, z), grid.affine)


def spread_of(jacobian: np.ndarray) -> dict[str, float]:
    """Return the standard deviation of the log Jacobian determinant, and the share of voxels that fold.

    The logarithm is that of the determinant itself, not of its sum with a constant, which would hide most of
    the spread; voxels that fold are left out.

    Parameters
    ----------
    jacobian : ndarray
        Jacobian determinants.

    Examples
    --------
    >>> spread_of(np.array([1.0, 1.0, -1.0, 1.0]))
    {'sd_log_jacobian': 0.0, 'folds': 0.25}
    """
    whole = jacobian > 0
    spread = float(np.log(jacobian[whole]).std()) if whole.any() else float("nan")
    return {"sd_log_jacobian": spread, "folds": float(1 - whole.mean())}


def mean_of_worst(values: Sequence[float], share: float = WORST) -> float:
    """Return the mean of the lowest values.

    Parameters
    ----------
    values : sequence of float
        Scores of the pairs.
    share : float
        Share of the values that are averaged.

    Examples
    --------
    >>> mean_of_worst([0.9, 0.5, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]) == (0.5 + 0.7 + 0.8) / 3
    True
    """
    count = max(1, round(share * len(values)))
    return float(np.mean(np.sort(np.asarray(values, float))[:count]))


def summary(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean scores, the 30th percentile ``dice30`` and the mean ``worst30`` of the lowest 30 %.

    Notes
    -----
    Learn2Reg's own evaluation (L2RTest/evaluation.py) computes its Dice30, the measure of robustness, as that
    percentile, although the text calls it the lowest 30 %.
    """
    out = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    dice = [one["dice"] for one in scores]
    robust = {"dice30": float(np.quantile(dice, WORST)), "worst30": mean_of_worst(dice)}
    return {"dice": out["dice"]} | robust | out


def summary_text(frame: pd.DataFrame) -> str:
    """Return the summary of scored pairs as lines of text."""
    scores = summary(frame[list(frame.columns[2:])].to_dict("records"))
    scores["folds"] *= 100
    words = ("Dice", "Dice30", "Dice, worst 30 %", "HD95 (mm)", "sd of log J", "folds (%)")
    lines = [f"{word:<18} {value:.4f}" for word, value in zip(words, scores.values(), strict=True)]
    return "\n".join([*lines, f"{'pairs':<18} {len(frame)}"])


def evaluate_pairs(
    ref: Path | str, pred: Path | str, transforms: Path | str, out: Path | str | None = None
) -> pd.DataFrame:
    """Score registrations by the overlap of transferred labels.

    Parameters
    ----------
    ref, pred : path-like
        Labels of the fixed and the moving image; with a table of pairs, their folders.
    transforms : path-like
        Transform from the fixed to the moving image: an ITK composite (``.h5``), Learn2Reg (``.npz``),
        or a table of pairs (``.tsv``) with the columns ``fixed``, ``moving`` (names of label images) and
        ``transform`` (relative to the table).
    out : path-like, optional
        TSV file to write, one line per pair.

    Returns
    -------
    DataFrame
        ``fixed``, ``moving`` and the scores of :func:`pair_scores`; one row per pair.

    Raises
    ------
    InputError
        If a file is missing or not valid.
    """
    rows = []
    for fixed_path, moving_path, transform in _listed(Path(ref), Path(pred), Path(transforms)):
        fixed, moving = read_labels(fixed_path), read_labels(moving_path)
        if not bool((fixed.data > 0).any()):
            raise InputError(fixed_path, "the image has no labels", "Give the labels of the fixed image")
        warp = _warp(transform, fixed, moving)
        names = {"fixed": fixed_path.name, "moving": moving_path.name}
        rows.append(names | pair_scores(warp, moving, fixed))
    frame = pd.DataFrame(rows)
    if out is not None:
        write(frame, Path(out))
    return frame


def _listed(ref: Path, pred: Path, transforms: Path) -> list[tuple[Path, Path, Path]]:
    if not transforms.is_file():
        raise InputError(transforms, "the file does not exist", "Check the path")
    if transforms.suffix != ".tsv":
        return [(ref, pred, transforms)]
    rows = list(csv.DictReader(transforms.read_text().splitlines(), delimiter="\t"))
    if not rows or not {"fixed", "moving", "transform"} <= set(rows[0]):
        raise InputError(transforms, "a table of pairs needs the columns fixed, moving and transform")
    return [(ref / r["fixed"], pred / r["moving"], transforms.parent / r["transform"]) for r in rows]


def _warp(path: Path, fixed: Volume, moving: Volume) -> Warp:
    if not path.is_file():
        raise InputError(path, "the file does not exist", "Check the path")
    return learn2reg.read(path, fixed.grid, moving.grid) if path.suffix == ".npz" else itk.read(path)
