"""Scores of several segmentations of the same scans, such as those of several programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...models.errors import UsageError
from . import segmentation
from .mapping import NONE, read_mapping

METHOD = "method"
"""Column with the name of the segmentation."""


def names_of(paths: Sequence[Path], given: Sequence[str] = ()) -> list[str]:
    """Return the names of segmentations: those given, or the shortest ends of their paths that differ.

    Raises
    ------
    UsageError
        If there is not one name for each.

    Examples
    --------
    >>> names_of([Path("a/ours"), Path("a/theirs")]), names_of([Path("a/x"), Path("b/x")])
    (['ours', 'theirs'], ['a/x', 'b/x'])
    """
    if given and (len(given) != len(paths) or len(set(given)) != len(given)):
        raise UsageError(
            None, f"{len(given)} --names for {len(paths)} PRED", "Give a name of its own for each"
        )
    if given:
        return list(given)
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(found)) == len(found):
            return found
    raise UsageError(paths[0], "it is given twice", "Give every PRED once")


def mappings_of(paths: Sequence[Path], given: Sequence[str] = ()) -> list[str | None]:
    """Return the mapping of every segmentation: one for all, or one for each.

    Raises
    ------
    UsageError
        If there are neither.
    """
    if len(given) > 1 and len(given) != len(paths):
        reason = f"{len(given)} --mapping-pred for {len(paths)} PRED"
        raise UsageError(None, reason, f"Give one for all, or one for each ({NONE}: our labels)")
    every = list(given) if len(given) > 1 else [*given] * len(paths) if given else [NONE] * len(paths)
    return [None if name == NONE else name for name in every]


def compare_paths(
    ref: Path | str,
    preds: Sequence[Path | str],
    *,
    names: Sequence[str] = (),
    mapping: str | None = None,
    mappings_pred: Sequence[str] = (),
    table: str | None = None,
    resampled: bool = False,
    surfaces: bool = True,
) -> pd.DataFrame:
    """Score several segmentations against the same references.

    Parameters
    ----------
    ref : path-like
        References.
    preds : sequence of path-like
        Segmentations.
    names, mappings_pred : sequence of str
        See :func:`names_of` and :func:`mappings_of`.
    mapping, table, resampled, surfaces
        See :func:`brainseg.training.evaluation.segmentation.evaluate_paths`.

    Returns
    -------
    DataFrame
        As of :func:`brainseg.training.evaluation.segmentation.evaluate_paths`, with the column ``method``
        first. Structures that the protocol of a segmentation lacks, by its mapping, have no rows for it.
    """
    paths = [Path(one) for one in preds]
    frames, notes = [], []
    chosen = names_of(paths, names)
    for path, name, own in zip(paths, chosen, mappings_of(paths, mappings_pred), strict=True):
        frame = segmentation.evaluate_paths(
            ref, path, mapping, mapping_pred=own, table=table, resampled=resampled, surfaces=surfaces
        )
        notes += [f"{name}: {note}" for note in frame.attrs["notes"]]
        if own is not None and table is None:
            known = frame["index"].isin(read_mapping(own).structures)
            if lacking := sorted(set(frame["name"][~known])):
                notes.append(f"{name}: not scored, for its labels have no {', '.join(lacking)}")
            frame = frame[known].copy()
        frame.insert(0, METHOD, name)
        frames.append(frame)
    out = pd.concat(frames, ignore_index=True)
    out.attrs["notes"] = tuple(notes)
    return out


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean and median Dice over cases by structure and method.

    The last row is the mean over the structures that all methods have.

    Parameters
    ----------
    frame : DataFrame
        Scores from :func:`compare_paths`.
    """
    order = list(dict.fromkeys(frame[METHOD]))
    parts = {}
    for what in ("mean", "median"):
        wide = frame.pivot_table("dice", ["index", "name"], METHOD, aggfunc=what)[order]
        parts[what] = wide.droplevel("index")
    out = pd.concat(parts, axis=1).swaplevel(axis=1)[order]
    common = out.dropna()
    out.loc[f"mean of {len(common)} in all"] = common.mean()
    return out
