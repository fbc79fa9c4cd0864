"""Fit of growth curves, and of the regression of age on volumes, to subjects of known age."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ...models.population import labels
from .source_labels import read_table

AGE_FROM, CURVED = (3, 4, 6, 9), (6, 9)
"""Structures whose log volumes predict the age, and those whose squares do: the choice with the least
leave-one-out error."""

RIDGE = 1e-3
"""Weight of the ridge penalty on the coefficients of standardized values."""

ATYPICAL = "sub-sb"
"""Prefix of subjects that are used for the age, but not for the curves of typical growth."""


def fit(path: Path, out: Path, table: str = "fetal") -> dict:
    """Fit growth curves and the regression of age, and write them.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    out : Path
        File to write (JSON).
    table : str
        Label table.

    Returns
    -------
    dict
        Content of the file.
    """
    names, weeks, volumes = measure(path, table)
    typical = np.array([not n.startswith(ATYPICAL) for n in names])
    indices = [i for i in labels.load(table).unsided if i]
    logs = {i: np.log([v[i] for v in volumes]) for i in indices}
    curves = {}
    for index in indices:
        found = np.polynomial.Polynomial.fit(weeks[typical], logs[index][typical], 2).convert()
        spread = logs[index][typical] - found(weeks[typical])
        deviation = float(np.sqrt((spread**2).sum() / max(typical.sum() - 3, 1)))
        curves[index] = {"coefficients": found.coef.tolist(), "deviation": deviation}
    design = np.stack([*(logs[i] for i in AGE_FROM), *(logs[i] ** 2 for i in CURVED)], 1)
    left_out = []
    for k in range(len(weeks)):
        constant, slopes = _ridge(np.delete(design, k, 0), np.delete(weeks, k))
        left_out.append(constant + design[k] @ slopes - weeks[k])
    constant, slopes = _ridge(design, weeks)
    age = [constant, *slopes[: len(AGE_FROM)]]
    curved = slopes[len(AGE_FROM) :].tolist()
    content = {
        "curves": {str(k): v for k, v in curves.items()},
        "weeks": [float(weeks[typical].min()), float(weeks[typical].max())],
        "age": dict(zip(map(str, (0, *AGE_FROM)), map(float, age), strict=True)),
        "age_squares": dict(zip(map(str, CURVED), curved, strict=True)),
        "error": float(np.sqrt(np.mean(np.square(left_out)))),
        "subjects": len(weeks),
        "training_data": "fetal atlases CRL (Gholipour 2017), Wu 2021 and, for the age alone, spina bifida "
        "(Fidon 2021)",
        "license": "Research use only (CRL non-commercial research; Wu not stated; spina bifida CC0)",
    }
    out.write_text(json.dumps(content, indent=2) + "\n")
    return content


def _ridge(design: np.ndarray, weeks: np.ndarray) -> tuple[float, np.ndarray]:
    """Return constant and slopes of a ridge regression on standardized columns."""
    middle, spread = design.mean(0), np.maximum(design.std(0), 1e-6)
    scaled = (design - middle) / spread
    held = RIDGE * len(weeks) * np.eye(design.shape[1])
    slopes = np.linalg.solve(scaled.T @ scaled + held, scaled.T @ (weeks - weeks.mean())) / spread
    return float(weeks.mean() - middle @ slopes), slopes


def measure(path: Path, table: str) -> tuple[list[str], np.ndarray, list[dict[int, float]]]:
    """Return names, ages (weeks) and volumes (mm3) by structure of prepared subjects."""
    of_label = read_table()["structure"]
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
        volumes = []
        for k in range(meta["count"]):
            voxel = abs(np.linalg.det(arrays[f"atlas{k}"])) / float(arrays[f"scale{k}"]) ** 3
            count = np.bincount(of_label[arrays[f"labels{k}"]].ravel(), minlength=50) * voxel
            volumes.append({i: float(count[i]) for i in labels.load(table).unsided if i})
    return meta["names"], np.array(meta["weeks"]), volumes
