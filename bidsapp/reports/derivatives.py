"""Results in the output folder, read back: participant-sessions, their status, files and volumes.

Reports and group level use nothing else. Every text read here may be missing, damaged or hostile, so its type
is checked here, and it is escaped where it is shown.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import math
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ...models.io import outputs
from ...models.population import labels
from ...models.population.labels import LabelTable
from ..config.settings import MODALITIES
from ..status import records, selected
from ..status.facts import Facts, facts_of

LABEL = r"[0-9A-Za-z+]+(?:[_-]+[0-9A-Za-z+]+)*?"
"""A label; underscores and hyphens, which BIDS does not allow, are in those of refused participants."""

KEY = re.compile(rf"sub-({LABEL})(?:_ses-({LABEL}))?")
STATES = ("done", "failed", "running", "skipped", "missing")
PREPROC, VOLUMES = outputs.ending("preproc", suffix="*"), outputs.ending("volumes")


def read_json(path: Path | None) -> dict[str, Any]:
    """Return the content of a JSON file; empty if it is missing or not an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_tsv(path: Path | None) -> list[dict[str, str]]:
    """Return the rows of a TSV; empty if it is missing."""
    try:
        text = path.read_text(encoding="utf-8-sig") if path else ""
    except (OSError, ValueError):
        return []
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{k: v for k, v in row.items() if k is not None and v is not None} for row in rows]


def number(value: Any) -> float | None:
    """Return ``value`` as a finite number, or None.

    Examples
    --------
    >>> number("3.5"), number("n/a"), number(float("nan")), number([])
    (3.5, None, None, None)
    """
    try:
        out = float(value)
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) else None


def texts(value: Any) -> list[str]:
    """Return ``value``, of any type, as a list of texts."""
    items = value if isinstance(value, list) else [value]
    return [str(item) for item in items if item not in (None, "")]


@dataclass(frozen=True)
class Result:
    """A participant-session in the output folder.

    Attributes
    ----------
    out_dir : Path
        Root of the derivatives.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    status : dict
        Content of its status file; empty without one.
    """

    out_dir: Path
    key: str
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return cast(re.Match[str], KEY.fullmatch(self.key))[1]

    @property
    def session(self) -> str | None:
        """Label without ``ses-``."""
        return cast(re.Match[str], KEY.fullmatch(self.key))[2]

    @property
    def folder(self) -> Path:
        """Folder of the derivatives of the participant-session."""
        folder = self.out_dir / f"sub-{self.participant}"
        return folder / f"ses-{self.session}" if self.session else folder

    @property
    def figures(self) -> Path:
        """Folder of the figures of the participant."""
        return self.out_dir / f"sub-{self.participant}" / "figures"

    @property
    def page(self) -> Path:
        """Path of the report."""
        return self.out_dir / f"{self.key}.html"

    @cached_property
    def state(self) -> str:
        """State, one of ``STATES``."""
        state = self.status.get("state")
        if state in STATES:
            return state
        return "done" if self.file(VOLUMES) else "missing"

    @cached_property
    def sloppy(self) -> bool:
        """Whether the results are coarse, for trying only (``--sloppy``)."""
        return records.is_sloppy(self.status) or self.sidecar(VOLUMES).get("Sloppy") is True

    @cached_property
    def error(self) -> dict[str, str]:
        """Node, stage, file, reason, remedy and crash file of a failure, as texts."""
        error = self.status.get("error")
        return {str(k): str(v) for k, v in error.items() if v} if isinstance(error, dict) else {}

    @cached_property
    def former(self) -> list[str]:
        """Names of results of an earlier run that the last one did not write."""
        return records.former(self.status, self.key, sorted(_names(self.folder / "anat")))

    @cached_property
    def listed(self) -> list[str]:
        """Names of the files of the session, those of other prefixes too, without ``former``."""
        return sorted({*_names(self.folder / "anat")} - {*self.former})

    @cached_property
    def prefix(self) -> str | None:
        """Beginning of the names of its files: the name of the source image without suffix."""
        native = [name for name in self.listed if "_space-" not in name and not name.startswith(".")]
        for ending in (VOLUMES, outputs.ending("mask"), PREPROC):
            found = fnmatch.filter(native, f"*_{ending}")
            mine = [name for name in found if any(name in text for text in texts(self.status.get("outputs")))]
            for name in mine or found:
                return name[: name.rindex("_desc-")]
        return None

    @cached_property
    def suffix(self) -> str:
        """Suffix of the source image, such as ``T1w``."""
        known = str(self.status.get("suffix") or "")
        if self.prefix is None:
            return known
        # Images of other contrasts may have names of the same kind.
        found = [name.split("_")[-1].removesuffix(".nii.gz") for name in self._named(PREPROC)]
        if known in found or not found:
            return known
        return min(found, key=lambda name: MODALITIES.index(name) if name in MODALITIES else len(MODALITIES))

    def file(self, ending: str) -> Path | None:
        """Return the file with that ending (a pattern), named for either flavor; None if missing."""
        if self.prefix is None:
            return None
        ending = ending.replace(PREPROC, outputs.ending("preproc", suffix=self.suffix or "*"))
        for name in (ending, f"space-{self.suffix}_{ending}"):
            if found := self._named(name):
                return self.folder / "anat" / found[0]
        return None

    @cached_property
    def _endings(self) -> dict[str, str]:
        """Names of its files by what follows their prefix."""
        start = f"{self.prefix}_"
        return {name.removeprefix(start): name for name in self.listed if name.startswith(start)}

    def _named(self, ending: str) -> list[str]:
        """Return the names of its files with that ending (a pattern), in order."""
        if "*" not in ending and "?" not in ending and "[" not in ending:
            return [self._endings[ending]] if ending in self._endings else []
        return [self._endings[found] for found in fnmatch.filter(self._endings, ending)]

    def sidecar(self, ending: str) -> dict[str, Any]:
        """Return the content of the JSON file that describes the file with that ending."""
        path = self.file(ending)
        return read_json(
            path.with_name(re.sub(r"(\.nii(\.gz)?|\.[a-z0-9]+)$", ".json", path.name)) if path else None
        )

    @cached_property
    def rows(self) -> dict[int, dict[str, str]]:
        """Rows of the table of volumes by label index."""
        rows = read_tsv(self.file(VOLUMES))
        return {int(row["index"]): row for row in rows if str(row.get("index")).isdigit()}

    @cached_property
    def facts(self) -> Facts:
        """Population, label table, age and reference: from the status file, or inferred without one."""
        sidecar = self.sidecar(VOLUMES)
        return facts_of(self.status, indices=self.rows, sidecar=sidecar)

    @property
    def table(self) -> LabelTable:
        """Label table of the structures."""
        return labels.load(self.facts.label_table)

    @cached_property
    def volumes(self) -> dict[str, float]:
        """Volumes (mm3): ``brain``, ``intracranial``, the totals of ``totals.toml``, all structures."""
        found: dict[str, float] = {}
        known: dict[int, float] = {}
        for index, row in self.rows.items():
            volume, label = number(row.get("volume_mm3")), self.table.by_index.get(index)
            if volume is None or index == 0:
                continue
            known[index] = volume
            found[label.name if label else str(row.get("name") or index)] = volume
        if not found:
            return {}
        inside = next((number(row.get("intracranial_mm3")) for row in self.rows.values()), None)
        whole = {"brain": self._brain(sum(found.values()))} | ({"intracranial": inside} if inside else {})
        return {**whole, **labels.add_up(known, self.table), **found}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Lower and upper end (mm3) of the structures' volumes by name; none if they were precomputed."""
        out = {}
        for index, row in self.rows.items():
            low, high = number(row.get("volume_low_mm3")), number(row.get("volume_high_mm3"))
            label = self.table.by_index.get(index)
            if low is not None and high is not None:
                out[label.name if label else str(row.get("name") or index)] = (low, high)
        return out

    def _brain(self, total: float) -> float:
        """Volume of the brain mask, from the fractions in the table; else the sum of the structures."""
        largest = max(self.rows.values(), key=lambda row: number(row.get("volume_mm3")) or 0.0)
        volume, share = number(largest.get("volume_mm3")), number(largest.get("fraction_of_brain"))
        return float(round(volume / share)) if volume and share else total

    @property
    def source(self) -> Path | None:
        """Source image, if it still exists."""
        inputs = self.status.get("inputs")  # with the whole path in status files of earlier versions
        before = inputs.get("path") if isinstance(inputs, dict) else ""
        paths = (Path(str(text or "")) for text in (self.facts.reference, before))
        return next((path for path in paths if path.is_absolute() and path.is_file()), None)

    @cached_property
    def quality(self) -> dict[str, Any]:
        """Results of quality control (``Verdict``, ``Score``, ``Checks``, ``Metrics``); empty without it."""
        return read_json(self.file(outputs.ending("quality_metrics")))

    @property
    def qc_rating(self) -> str:
        """QC rating (``pass``, ``check`` or ``fail``); empty without one."""
        found = self.quality.get("Verdict")
        return found if found in ("pass", "check", "fail") else ""

    @property
    def checks(self) -> list[dict[str, Any]]:
        """Checks of quality control."""
        found = self.quality.get("Checks")
        return [check for check in found if isinstance(check, dict)] if isinstance(found, list) else []

    @property
    def metrics(self) -> dict[str, Any]:
        """Image quality metrics by name."""
        found = self.quality.get("Metrics")
        return found if isinstance(found, dict) else {}

    @cached_property
    def scores(self) -> dict[int, dict[str, str]]:
        """Rows of the table of the structures' quality by label index."""
        rows = read_tsv(self.file(outputs.ending("quality_structures")))
        return {int(row["index"]): row for row in rows if str(row.get("index")).isdigit()}

    @cached_property
    def mask_source(self) -> str:
        """Network that made the brain mask, ``extent`` or ``precomputed``; empty if unknown."""
        found = self.status.get("mask_source") or self.sidecar(outputs.ending("mask")).get("MaskSource")
        return found if isinstance(found, str) else ""

    @cached_property
    def missing_outputs(self) -> list[str]:
        """Outputs in the status file that do not exist."""
        start = f"{self.folder.relative_to(self.out_dir).as_posix()}/anat/"
        there = {f"{start}{name}" for name in self.listed}
        named = texts(self.status.get("outputs"))
        return [name for name in named if name not in there and not (self.out_dir / name).exists()]


def load(out_dir: Path, key: str) -> Result:
    """Return the participant-session ``key`` of an output folder.

    Raises
    ------
    ValueError
        If ``key`` is not ``sub-LABEL`` or ``sub-LABEL_ses-LABEL``.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is neither sub-LABEL nor sub-LABEL_ses-LABEL")
    out_dir = Path(out_dir)
    return Result(out_dir, key, records.read(out_dir, key))


def load_all(out_dir: Path) -> list[Result]:
    """Return every participant-session with a status file or derivatives, by name.

    Participants of ``participants.tsv`` without either are returned too, unless no run selected them.
    """
    out_dir = Path(out_dir)
    begun = keys(out_dir)
    listed = {str(row.get("participant_id")) for row in read_tsv(out_dir / "participants.tsv")}
    missing = listed - {key.partition("_ses-")[0] for key in begun}
    if missing:
        missing -= {f"sub-{label}" for label in left_out(out_dir)}
    return [load(out_dir, key) for key in sorted(begun | missing) if KEY.fullmatch(key)]


def keys(out_dir: Path) -> set[str]:
    """Return the participant-sessions with a status file or derivatives."""
    out_dir = Path(out_dir)
    out = {path.stem for path in records.folder(out_dir).glob("*.json")}
    for name in _names(out_dir):
        if not name.startswith("sub-") or name.endswith(".html"):
            continue
        sessions = [below for below in _names(out_dir / name) if below == "anat" or below.startswith("ses-")]
        for below in sessions:
            key, folder = (name, below) if below == "anat" else (f"{name}_{below}", f"{below}/anat")
            if key not in out and any(n.endswith(f"_{VOLUMES}") for n in _names(out_dir / name / folder)):
                out.add(key)
    return {key for key in out if KEY.fullmatch(key)}


def left_out(out_dir: Path) -> list[str]:
    """Return the participants of ``participants.tsv`` that no run selected (``--participant-label``)."""
    chosen = selected.participants(out_dir)
    if chosen is None:
        return []
    listed = [str(row.get("participant_id")) for row in read_tsv(Path(out_dir) / "participants.tsv")]
    return [name.removeprefix("sub-") for name in listed if name.removeprefix("sub-") not in chosen]


def _names(folder: Path) -> list[str]:
    """Return the names in a folder without links to nowhere; empty if it cannot be read or is a file."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.is_symlink() or Path(entry.path).exists()]
    except OSError:
        return []


def demographics(results: list[Result]) -> dict[str, dict[str, Any]]:
    """Return age and sex by key; what the derivatives lack comes from ``participants.tsv``.

    Returns
    -------
    dict of str to dict
        ``age`` (years), ``gestational_age`` (weeks, at the scan, before birth only), whether it is an
        estimate from the volumes (``gestational_age_estimated``), and ``sex`` (text); None if unknown.
    """
    table = {}
    if results:
        table = {row.get("participant_id"): row for row in read_tsv(results[0].out_dir / "participants.tsv")}
    out = {}
    for result in results:
        row, facts = table.get(f"sub-{result.participant}", {}), result.facts
        sex = result.status.get("sex") or row.get("sex") or row.get("gender")
        weeks = facts.gestational_age
        age = facts.age if weeks is None else None
        if facts.age is None:
            age = number(row.get("age"))
            weeks = number(row.get("gestational_age")) if age is None else None
        out[result.key] = {
            "age": age,
            "gestational_age": weeks,
            "gestational_age_estimated": None if weeks is None else facts.estimated,
            "sex": None if sex in (None, "n/a") else str(sex),
        }
    return out


def notes_of(result: Result) -> list[str]:
    """Return what was ignored, guessed or replaced for a participant-session: notes of all stages."""
    sidecars = (result.sidecar(VOLUMES), result.quality)
    found = texts(result.status.get("notes")) + [n for one in sidecars for n in texts(one.get("Notes"))]
    found += records.words_on_former(result.former)
    return list(dict.fromkeys(found))
