"""What became of every scan, kept beside the labels so that a second run computes nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ....interfaces.io import files
from .sources import Source

COLUMNS = ("scan", "labels", "kept", "quality", "expected_dice", "overlap", "rating", "reason")
"""Columns of ``scans.tsv``."""

PAIRS = ("case", "image", "labels")
"""Columns of ``pairs.tsv``, a table of cases for recipes of the kind ``supervised``."""

RECORDS = "logs"
"""Folder of the records."""


@dataclass(frozen=True)
class Record:
    """What became of a scan.

    Attributes
    ----------
    key : str
        Digest of the files and settings; another one means that the scan is computed again.
    expected_dice : float or None
        Mean expected Dice of the scan's own segmentation.
    overlap : float or None
        Mean Dice of the structures of atlas and scan after the registration.
    rating : str
        QC rating; empty if it is not known.
    failed : str
        Why there are no labels; empty if there are.
    labeled : bool
        Whether the labels were written.
    """

    key: str
    expected_dice: float | None = None
    overlap: float | None = None
    rating: str = ""
    failed: str = ""
    labeled: bool = False

    @property
    def quality(self) -> float | None:
        """The smaller of the known figures."""
        known = [value for value in (self.expected_dice, self.overlap) if value is not None]
        return min(known, default=None)

    def reason(self, least: float | None) -> str:
        """Return why the scan is left out; empty if it is kept.

        Parameters
        ----------
        least : float or None
            Smallest quality; None keeps all that has labels.

        Examples
        --------
        >>> Record("", 0.9, 0.6).reason(0.7), Record("", 0.9, 0.8, "fail").reason(0.7)
        ('overlap 0.600 is below 0.7', 'QC rating fail')
        """
        if self.failed or least is None:
            return self.failed
        if self.rating == "fail":
            return "QC rating fail"
        for name, value in (("expected Dice", self.expected_dice), ("overlap", self.overlap)):
            if value is not None and value < least:
                return f"{name} {value:.3f} is below {least:g}"
        return "" if self.quality is not None else "its quality is not known"


def _path(out: Path, source: Source) -> Path:
    return out / RECORDS / f"{source.out_name}.json"


def read(out: Path, source: Source, key: str) -> Record | None:
    """Return the record of an earlier run with the same files and settings; None if there is none."""
    path = _path(out, source)
    if not path.is_file():
        return None
    found = Record(**json.loads(path.read_text(encoding="utf-8")))
    return found if found.key == key else None


def write(out: Path, source: Source, record: Record) -> None:
    """Write a record."""
    files.write_json(_path(out, source), asdict(record))


def labels_path(out: Path, source: Source) -> Path:
    """Return the path of the labels of a scan."""
    return out / f"{source.out_name}_dseg.nii.gz"


def write_tables(out: Path, found: Iterable[tuple[Source, Record]], least: float | None) -> int:
    """Write ``scans.tsv`` (all) and ``pairs.tsv`` (those kept); return the number kept.

    Parameters
    ----------
    out : Path
        Folder of the results.
    found : iterable of tuple
        Scans and their records.
    least : float or None
        Smallest quality.
    """
    rows, pairs = [], []
    for source, record in found:
        reason, labels = record.reason(least), labels_path(out, source)
        figures = [
            "n/a" if value is None else f"{value:.4f}"
            for value in (record.quality, record.expected_dice, record.overlap)
        ]
        name = str(labels.relative_to(out)) if not reason else "n/a"
        kept = "no" if reason else "yes"
        rows.append((str(source.image), name, kept, *figures, record.rating or "n/a", reason or "n/a"))
        if not reason:
            pairs.append((Path(source.out_name).name, str(source.image.absolute()), name))
    files.write_table(out / "scans.tsv", COLUMNS, rows)
    files.write_table(out / "pairs.tsv", PAIRS, pairs)
    return len(pairs)
