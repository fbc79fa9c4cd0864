"""Cases of a training on images with labels: found in a folder, or listed in a table of pairs."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...models.errors import InputError, UsageError
from ...models.io.folders import IMAGES, files_below
from ..data import tiff_slices

LABELS = ("_dseg", "_mask")
"""Endings of label images, the first that there is counts."""

BRAIN = "_desc-brain_mask"
"""Ending of brain masks, which are no labels unless there are no others."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    name : str
        Its name, unique.
    participant : str
        Cases of one participant stay in one part of the split.
    images : tuple of Path
        One image for each contrast; or the folder of its slices (TIFF).
    labels : Path
        Label image; or the same folder.
    brain : Path or None
        Brain mask.
    """

    name: str
    participant: str
    images: tuple[Path, ...]
    labels: Path
    brain: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Every file of the case."""
        if self.labels.is_dir():
            return sorted(self.labels.glob("*.tif"))
        return [*self.images, self.labels, *([self.brain] if self.brain else [])]


def find(source: Path, contrasts: Sequence[str], *, brain_masks: bool = False) -> list[Case]:
    """Return the cases of a folder or table.

    Parameters
    ----------
    source : Path
        A folder: BIDS-like, with label images ``*_dseg`` or ``*_mask`` and an image of each contrast of the
        same participant and session; or one folder a case with slices (TIFF). Or a table (TSV) with the
        columns ``labels`` and ``image`` (or one for each contrast, such as ``T1w``), and optionally ``mask``,
        ``case``, ``participant``; paths are relative to it.
    contrasts : sequence of str
        Contrasts of the network; of slices as many channels.
    brain_masks : bool
        Whether the labels are brain masks.

    Raises
    ------
    UsageError
        If there are no cases, or a table lacks a column.
    InputError
        If a label image has no image, or several.
    """
    if source.is_file():
        found = _listed(source, contrasts)
    elif not source.is_dir():
        raise UsageError(
            source, "there is no such folder or table", "Give a folder of images with labels, or a TSV"
        )
    else:
        slices = [folder for folder in [source, *sorted(source.iterdir())] if folder.is_dir()]
        slices = [folder for folder in slices if tiff_slices.is_case(folder)]
        made = [Case(one.name, one.name, (one,), one) for one in slices]
        found = made or _in_folder(source, contrasts, brain_masks)
    if not found:
        remedy = "Give a folder with *_dseg or *_mask beside the images, or a TSV with image and labels"
        raise UsageError(source, "there are no images with labels", remedy)
    names = [case.name for case in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(source, f"two cases are named {twice[0]}", "Give a column case, or other names")
    return found


def _in_folder(folder: Path, contrasts: Sequence[str], brain_masks: bool) -> list[Case]:
    every = files_below(folder, *IMAGES)
    stems = {path: path.name.split(".nii")[0] for path in every}
    masks = [path for path in every if stems[path].endswith(BRAIN)]
    wanted: list[Path] = masks if brain_masks else []
    for ending in LABELS:
        wanted = wanted or [p for p in every if stems[p].endswith(ending) and p not in masks]
    images = [path for path in every if stems[path].rpartition("_")[2] in contrasts]
    cases = []
    for labels in wanted:
        entities = _entities(stems[labels])
        if "sub" not in entities:
            raise InputError(
                labels, "its name has no sub-", "Name files as in BIDS, or give a table (TSV) of pairs"
            )
        chosen = [_one(images, stems, labels, contrast) for contrast in contrasts]
        brains = [p for p in masks if p != labels and _same(_entities(stems[p]), entities)]
        key = "_".join(f"{k}-{entities[k]}" for k in ("sub", "ses") if k in entities)
        several = sum(_key(_entities(stems[one])) == _key(entities) for one in wanted) > 1
        name = stems[labels] if several else key
        cases.append(
            Case(name, f"sub-{entities['sub']}", tuple(chosen), labels, brains[0] if brains else None)
        )
    return cases


def _one(images: list[Path], stems: dict[Path, str], labels: Path, contrast: str) -> Path:
    """Return the image of a contrast that label images belong to: of the same folder if there is one."""
    entities = _entities(stems[labels])
    same = [p for p in images if stems[p].endswith(f"_{contrast}") and _same(_entities(stems[p]), entities)]
    near = [p for p in same if p.parent == labels.parent] or same
    plain = [p for p in near if "desc" not in _entities(stems[p])] or near
    if len(plain) != 1:
        found = ", ".join(p.name for p in plain[:3]) or "none"
        reason = f"{len(plain)} images {contrast} belong to it ({found})"
        raise InputError(labels, reason, "Keep exactly one, or give a table (TSV) of pairs")
    return plain[0]


def _listed(table: Path, contrasts: Sequence[str]) -> list[Case]:
    try:
        rows = list(csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except ValueError as error:
        raise UsageError(table, f"it is no table ({error})", "Give a TSV file") from None
    columns = ["image"] if len(contrasts) == 1 and rows and contrasts[0] not in rows[0] else list(contrasts)
    cases = []
    for number, row in enumerate(rows, 2):
        if missing := [name for name in (*columns, "labels") if not row.get(name)]:
            reason = f"line {number} has no {', '.join(missing)}"
            raise UsageError(table, reason, f"Every line needs {', '.join(columns)} and labels")
        paths = {name: table.parent / row[name] for name in (*columns, "labels", "mask") if row.get(name)}
        for path in paths.values():
            if not path.exists():
                raise UsageError(
                    path, f"line {number} of {table.name} names it, but it does not exist", "Correct it"
                )
        labels = paths["labels"]
        found = _entities(labels.name.split(".nii")[0])
        name = row.get("case") or labels.name.split(".nii")[0]
        participant = row.get("participant") or (f"sub-{found['sub']}" if "sub" in found else name)
        cases.append(Case(name, participant, tuple(paths[c] for c in columns), labels, paths.get("mask")))
    return cases


def _entities(stem: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", stem))


def _key(entities: dict[str, str]) -> tuple[str | None, str | None]:
    return entities.get("sub"), entities.get("ses")


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Return whether names are of one participant, session and run."""
    shared = ("sub", "ses", "run", "acq")
    return all(one.get(k) == other.get(k) or (k in ("run", "acq") and k not in other) for k in shared)
