"""Scores of segmentations against references: two files, or two folders whose files are matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from ...models.errors import InputError
from ...models.geometry.volume import Volume, resample
from ...models.io import atomic
from ...models.population import labels
from .label_files import pairs, read_labels
from .mapping import IGNORED, Mapping, read_mapping
from .metrics import agreement
from .protocol import Protocol, agree, check_numbering

COLUMNS = [
    "case",
    "index",
    "name",
    "dice",
    "hd95_mm",
    "assd_mm",
    "reference_mm3",
    "predicted_mm3",
    "volume_error_percent",
]


def evaluate(
    reference: Path,
    predicted: Path,
    *,
    mapping: Mapping | None = None,
    resampled: bool = False,
    surfaces: bool = True,
    labels_of: Protocol | None = None,
) -> list[dict]:
    """Score one segmentation.

    Parameters
    ----------
    reference, predicted : Path
        Label images; their orientations can differ.
    mapping : Mapping, optional
        Mapping of the reference's labels to FreeSurfer ids; by default both use the same ids.
    labels_of : Protocol, optional
        What the labels are; by default recognized from both files.
    resampled : bool
        Whether to resample a prediction on another grid (nearest neighbor) instead of refusing it.
    surfaces : bool
        Whether to compute surface distances.

    Returns
    -------
    list of dict
        One row per structure of the reference or, if the protocol has it, of the prediction.

    Raises
    ------
    InputError
        If a file is not a label image, the labels are of different tables, or the grids differ.
    """
    labels_of = labels_of or agree([("", reference, predicted)], mapping=mapping)
    truth, found = read_labels(reference), read_labels(predicted)
    if not _same_grid(truth, found):
        if not resampled:
            raise InputError(
                predicted,
                f"the grid ({_grid(found)}) differs from {reference} ({_grid(truth)})",
                "Predict on the reference's grid, or use --resample",
            )
        found = resample(found, truth.grid, mode="nearest")
    a = labels_of.reference(truth.data.numpy(), reference)
    b = labels_of.prediction(found.data.numpy(), predicted)
    counts = (a != IGNORED) & (b != IGNORED)
    a, b = np.where(counts, a, 0), np.where(counts, b, 0)
    check_numbering(a, b, predicted)
    spacing = truth.grid.spacing
    return _rows(a, b, spacing, labels_of.protocol, labels_of.names, labels_of.mask, surfaces=surfaces)


def compare(
    truth: Volume, found: Volume, *, path: Path, mapping: Mapping | None = None, surfaces: bool = True
) -> list[dict]:
    """Score a segmentation on the grid of its reference.

    Parameters
    ----------
    truth, found : Volume of integers
        Labels of reference and prediction.
    path : Path
        File of the reference, for error messages.
    mapping, surfaces
        See :func:`evaluate`.

    Returns
    -------
    list of dict
        One row per structure, as of :func:`evaluate`.
    """
    a, b = truth.data.numpy(), found.data.numpy()
    if mapping is not None:
        a = mapping.apply(a, path)
        b = np.where(a == IGNORED, 0, b)
    known = frozenset(mapping.structures) if mapping else None
    names = {label.index: label.name for label in labels.load("adult")}
    return _rows(a, b, truth.grid.spacing, known, names, surfaces=surfaces)


def _rows(
    a: np.ndarray,
    b: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    known: frozenset[int] | None,
    names: dict[int, str],
    mask: int | None = None,
    *,
    surfaces: bool,
) -> list[dict]:
    """Return one row per label of the reference ``a`` or, if the protocol has it, of the prediction ``b``."""
    found = {int(v) for v in np.unique(b)}
    present = {int(v) for v in np.unique(a)} | (found if known is None else found & known)
    rows = []
    for index in sorted(v for v in present | {mask or 0} if v > 0):
        scores = asdict(agreement(a == index, b == index, spacing, surfaces=surfaces))
        if index == mask and index not in present:
            scores["dice"] = 1.0  # nothing to find, and nothing found
        rows.append({"index": index, "name": names.get(index, str(index))} | scores)
    return rows


def evaluate_paths(
    ref: Path | str,
    pred: Path | str,
    mapping: str | None = None,
    out: Path | str | None = None,
    *,
    mapping_pred: str | None = None,
    table: str | None = None,
    resampled: bool = False,
    surfaces: bool = True,
) -> pd.DataFrame:
    """Score a file, or all files of a folder.

    Parameters
    ----------
    ref, pred : path-like
        References and predictions.
    mapping, mapping_pred : str, optional
        Name or path of the mapping table of the references, and of the predictions.
    table : str, optional
        Label table of both, see :func:`brainseg.training.evaluation.protocol.agree`.
    out : path-like, optional
        TSV to write.
    resampled, surfaces : bool
        See :func:`evaluate`.

    Returns
    -------
    DataFrame
        One row per case and structure (:data:`COLUMNS`); ``attrs["notes"]`` says what was guessed.

    Raises
    ------
    UsageError
        If a folder is given with a file.
    InputError
        If a reference has no prediction, or more than one, or the labels are of different tables.
    """
    theirs, ours = (read_mapping(name) if name else None for name in (mapping, mapping_pred))
    cases = pairs(Path(ref), Path(pred), mapped=theirs is not None)
    labels_of = agree(cases, table=table, mapping=theirs, mapping_pred=ours)
    rows = []
    for case, reference, predicted in cases:
        found = evaluate(reference, predicted, labels_of=labels_of, resampled=resampled, surfaces=surfaces)
        rows += [{"case": case} | row for row in found]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs["notes"] = labels_of.notes
    if out is not None:
        write(frame, Path(out))
    return frame


def summarize(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean scores over cases by structure, with absolute volume errors."""
    frame = frame.assign(volume_error_percent=frame.volume_error_percent.abs())
    grouped = frame.groupby(["index", "name"])
    out = grouped[["dice", "hd95_mm", "assd_mm", "volume_error_percent"]].mean()
    return out.assign(cases=grouped.size())


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write scores as a TSV file, never a partial one."""
    with atomic.replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.4f")


def _same_grid(a: Volume, b: Volume) -> bool:
    return a.grid.shape == b.grid.shape and np.allclose(a.affine, b.affine, atol=1e-2)


def _grid(volume: Volume) -> str:
    shape = "x".join(map(str, volume.grid.shape))
    size = "x".join(f"{s:.3g}" for s in volume.grid.spacing)
    start = ", ".join(f"{x:.1f}" for x in volume.affine[:3, 3])
    return f"{shape} voxels of {size} mm from ({start})"
