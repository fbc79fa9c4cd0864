"""What the labels of references and predictions are, so that only labels of one table are compared."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...models.errors import InputError, UsageError
from ...models.population import label_sets, labels
from .label_files import read_labels
from .mapping import IGNORED, Mapping

STRUCTURES = ("adult", "fetal", "fetal-callosum")
"""Tables of structures, which can be summed up to coarser tables."""

TISSUES = ("dseg", "tissue")
"""Tables of tissues."""

SHARED = 0.5
"""Least share of the labels in common of two segmentations whose labels are in no table."""

MATCHED, SAME = 0.5, 0.5
"""If labels of other numbers have at least this mean Dice, those of the same number need this share of it."""


@dataclass(frozen=True)
class Protocol:
    """The labels that are compared.

    Attributes
    ----------
    table : str
        Label table; empty if the labels are in none.
    names : dict of int to str
        Names of the labels.
    reference, prediction : callable
        Map label values of a side and the file, for error messages, to labels of the table.
    mask : int or None
        The label if there is only one, as in lesion masks.
    protocol : frozenset of int or None
        Labels that the references' protocol has, where a mapping says so.
    notes : tuple of str
        What was guessed or is not scored.
    """

    table: str
    names: dict[int, str]
    reference: Callable[[np.ndarray, Path], np.ndarray]
    prediction: Callable[[np.ndarray, Path], np.ndarray]
    mask: int | None = None
    protocol: frozenset[int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """The labels of the references or of the predictions.

    Attributes
    ----------
    name : str
        ``REF`` or ``PRED``.
    mapping : Mapping or None
        Mapping of the label values.
    files : dict of Path to set of int
        Labels of every file after the mapping.
    """

    name: str
    mapping: Mapping | None
    files: dict[Path, set[int]]

    @property
    def labels(self) -> set[int]:
        """Return all labels but background."""
        return set().union(*self.files.values()) - {0, IGNORED}

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables that have all labels."""
        return label_sets.fitting(self.labels)

    @property
    def option(self) -> str:
        """Return the option with the mapping of this side."""
        return "--mapping" if self.name == "REF" else "--mapping-pred"

    def with_any(self, wanted: set[int]) -> Path:
        """Return the first file that has one of some labels."""
        return next((path for path, found in self.files.items() if found & wanted), next(iter(self.files)))

    def check_same_table(self) -> None:
        """Refuse files of which some have the labels of one table, some those of another."""
        first, fits = None, None
        for path, found in self.files.items():
            own = label_sets.fitting(found - {IGNORED})
            if first is None or fits is None:
                first, fits = path, own
            elif not set(own) & set(fits) and own and fits:
                reason = (
                    f"its labels are {label_sets.described(own)}, those of {first.name} are "
                    f"{label_sets.described(fits)}"
                )
                raise InputError(path, reason, f"{self.name} needs labels of one kind; score them one by one")
            elif own and fits:
                fits = tuple(name for name in fits if name in own)


def agree(
    cases: Sequence[tuple[str, Path, Path]],
    *,
    table: str | None = None,
    mapping: Mapping | None = None,
    mapping_pred: Mapping | None = None,
) -> Protocol:
    """Return the labels that are compared.

    Parameters
    ----------
    cases : sequence of tuple
        Name, reference and prediction of every case.
    table : str, optional
        Label table of both: a name, or a TSV file with the columns ``index`` and ``name``; by default the
        table that has the labels of both. Structures are summed up to a table of tissues.
    mapping, mapping_pred : Mapping, optional
        Mappings of the labels of the references and of the predictions to those of the table.

    Raises
    ------
    InputError
        If the labels of one side are not in the table of the other.
    UsageError
        If there is no such table.
    """
    ref = _side("REF", [path for _, path, _ in cases], mapping)
    pred = _side("PRED", [path for _, _, path in cases], mapping_pred)
    for side in (ref, pred):
        side.check_same_table()
    lookups: list[np.ndarray | None] = [None, None]
    notes: list[str] = []
    if table is not None:
        table, names = _named(table)
        lookups = [_lookup(side, table, names) for side in (ref, pred)]
    else:
        table, names, note = _common(ref, pred)
        notes += [note] if note else []
    every = ref.labels | pred.labels
    extra = sorted(pred.labels - ref.labels)
    if extra and ref.labels and mapping is None and lookups[0] is None and lookups[1] is None:
        shown = ", ".join(names.get(k, str(k)) for k in extra[:6]) + (", ..." if len(extra) > 6 else "")
        notes.append(f"no reference has {len(extra)} labels of the predictions ({shown}): their Dice is 0")
    mask = (next(iter(every)) if every else 1) if len(every) < 2 else None
    if mask is not None and not table:
        names = {mask: "mask"}
    return Protocol(
        table,
        names,
        _reader(mapping, lookups[0]),
        _reader(mapping_pred, lookups[1]),
        mask,
        frozenset(mapping.structures) if mapping and lookups[0] is None else None,
        tuple(notes),
    )


def check_numbering(truth: np.ndarray, found: np.ndarray, path: Path) -> None:
    """Refuse a prediction whose labels match those of the reference well, but under other numbers.

    Parameters
    ----------
    truth, found : ndarray of int, shape (X, Y, Z)
        Labels of reference and prediction.
    path : Path
        File of the prediction, for the error message.

    Raises
    ------
    InputError
        If labels of other numbers agree much better than those of the same number.
    """
    a, a_index = np.unique(truth, return_inverse=True)
    b, b_index = np.unique(found, return_inverse=True)
    both = np.bincount(a_index.ravel() * len(b) + b_index.ravel(), minlength=len(a) * len(b))
    both = both.reshape(len(a), len(b))
    dice = 2 * both / (both.sum(1)[:, None] + both.sum(0))
    dice = dice[a > 0][:, b > 0]
    a, b = a[a > 0], b[b > 0]
    if not dice.size:
        return
    rows, columns = linear_sum_assignment(-dice)
    best = dice[rows, columns].mean()
    same = np.array([dice[i, list(b).index(k)] if k in b else 0.0 for i, k in enumerate(a)])
    if best < MATCHED or same.mean() >= SAME * best:
        return
    moved = [(a[i], b[j], dice[i, j]) for i, j in zip(rows, columns, strict=True) if a[i] != b[j]]
    listed = ", ".join(f"{own} of REF is {other} of PRED (Dice {d:.2f})" for own, other, d in moved[:4])
    raise InputError(
        path,
        f"the labels are numbered otherwise: {listed}",
        "Give the table of these labels with --mapping or --mapping-pred; if left and right are exchanged, "
        "correct the segmentation",
    )


def _side(name: str, paths: Sequence[Path], mapping: Mapping | None) -> Side:
    files: dict[Path, set[int]] = {}
    for path in paths:
        values = np.unique(read_labels(path).data.numpy())
        files[path] = {int(v) for v in (values if mapping is None else mapping.apply(values, path))}
    return Side(name, mapping, files)


def _reader(mapping: Mapping | None, lookup: np.ndarray | None) -> Callable[[np.ndarray, Path], np.ndarray]:
    def read(values: np.ndarray, path: Path) -> np.ndarray:
        values = values if mapping is None else mapping.apply(values, path)
        if lookup is None:
            return values
        return np.where(values == IGNORED, IGNORED, lookup[np.maximum(values, 0)].astype(np.int32))

    return read


def _named(table: str) -> tuple[str, dict[int, str]]:
    """Return the name of a table and the names of its labels."""
    if table in label_sets.TABLES:
        return table, {label.index: label.name for label in labels.load(table)}
    path = Path(table)
    if not path.is_file():
        known = ", ".join(label_sets.TABLES)
        raise UsageError(table, "no such label table", f"Give a TSV file, or one of {known}")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise UsageError(path, "a label table needs the columns index and name", "See models/data/labels")
    try:
        return path.stem, {int(row["index"]): row["name"] for row in rows}
    except (TypeError, ValueError) as error:
        raise UsageError(path, f"index must be an integer ({error})") from None


def _lookup(side: Side, table: str, names: dict[int, str]) -> np.ndarray | None:
    """Return the lookup array from the structures of a side to a coarser table; None if it has the table."""
    unknown = side.labels - set(names)
    finer = next((name for name in STRUCTURES if name in side.tables), None)
    if finer and table in TISSUES and unknown:
        return labels.load(finer).lookup(table)
    if finer and unknown and (numbers := labels.numbering(finer, table)) is not None:
        return numbers
    if unknown:
        reason = f"the labels {label_sets.shown(unknown)} are not in the label table {table}"
        raise InputError(side.with_any(unknown), reason, f"Map them with {side.option} TSV")
    return None


def _common(ref: Side, pred: Side) -> tuple[str, dict[int, str], str]:
    """Return the table that has the labels of both sides, their names, and what was guessed."""
    every = ref.labels | pred.labels
    if not ref.tables and not pred.tables:
        return "", *_unknown(ref, pred, every)
    for side, other in ((ref, pred), (pred, ref)):
        if not side.tables:
            known = set(labels.load(other.tables[0]).by_index)
            unknown = side.labels - known
            raise InputError(
                side.with_any(unknown),
                f"the labels {label_sets.shown(unknown)} are not those of {other.name}, which has "
                f"{label_sets.described(other.tables[:1])}",
                f"Map them with {side.option}: freesurfer, neuromorphometrics or a TSV file",
            )
    common = [name for name in ref.tables if name in pred.tables]
    if not common:
        sums = set(ref.tables + pred.tables) & set(STRUCTURES) and "dseg" in ref.tables + pred.tables
        raise InputError(
            pred.with_any(pred.labels),
            f"its labels are {label_sets.described(pred.tables[:1])}, those of REF are "
            f"{label_sets.described(ref.tables[:1])}",
            "Give a segmentation of the same kind"
            + (", or compare both as gray matter, white matter and CSF with --table dseg" if sums else ""),
        )
    names = [{x.index: x.name for x in labels.load(name) if x.index in every} for name in common]
    if all(one == names[0] for one in names):
        return common[0], names[0], ""
    for name, own in zip(common, names, strict=True):
        if _hinted(name, [*ref.files, *pred.files]):
            return name, own, ""
    if len(every) < 2:
        return "", {}, ""
    fits = ", ".join(common)
    note = f"the labels {label_sets.shown(every)} fit several tables ({fits}); choose one with --table"
    return "", {k: str(k) for k in every}, note


def _hinted(table: str, paths: Sequence[Path]) -> bool:
    """Return whether the names of files say that their labels are of a table."""
    stems = [path.name for path in paths]
    if table == "tissue":
        return any("desc-tissue_" in stem for stem in stems)
    return table == "dseg" and all(
        stem.split(".")[0].endswith("_dseg") and "desc-tissue_" not in stem for stem in stems
    )


def _unknown(ref: Side, pred: Side, every: set[int]) -> tuple[dict[int, str], str]:
    """Return names of labels that are in no table."""
    both = ref.labels & pred.labels
    if len(both) < SHARED * min(len(ref.labels), len(pred.labels)):
        raise InputError(
            pred.with_any(pred.labels - both),
            f"the labels of REF ({label_sets.shown(ref.labels)}) and PRED ({label_sets.shown(pred.labels)}) "
            "are of different tables",
            "Map them with --mapping and --mapping-pred",
        )
    known = {label.index: label.name for label in labels.load("adult")}
    near = len(every & set(known)) > len(every) / 2
    names = {k: known.get(k, str(k)) if near else str(k) for k in every}
    note = f"the labels {label_sets.shown(every - set(known) if near else every)} are in no label table"
    return names, note
