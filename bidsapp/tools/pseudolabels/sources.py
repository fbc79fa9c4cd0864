"""Scans to label: files, BIDS folders, and derivatives with ratings of their scans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....models.errors import UsageError
from ....models.io.folders import files_below

PREPROC = "_desc-preproc"
"""Entity of corrected images in derivatives."""

EXTENSIONS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Source:
    """A scan to label.

    Attributes
    ----------
    image : Path
        The scan.
    out_name : str
        Path of its labels below the folder of the results, without ``_dseg.nii.gz``.
    rating : str or None
        QC rating in the derivatives; None if there are none.
    score : float or None
        Mean expected Dice there.
    """

    image: Path
    out_name: str
    rating: str | None = None
    score: float | None = None


def find(given: Sequence[Path], suffix: str) -> list[Source]:
    """Return the scans of files and folders.

    Parameters
    ----------
    given : sequence of Path
        Scans; BIDS folders, whose images ``sub-*_<suffix>`` count; or derivatives of this program, whose
        corrected images count.
    suffix : str
        BIDS suffix of the images in folders.

    Raises
    ------
    UsageError
        If a file or folder does not exist, a folder has no such image, or two scans have one name.
    """
    found: list[Source] = []
    for path in given:
        if path.is_dir():
            found += _in_folder(path, suffix)
        elif path.is_file():
            found.append(Source(path, path.name.removesuffix(".gz").removesuffix(".nii")))
        else:
            raise UsageError(path, "the file does not exist", "Check the path")
    names = [source.out_name for source in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(None, f"two scans are called {twice[0]}", "Give them in two commands")
    return found


def _in_folder(folder: Path, suffix: str) -> list[Source]:
    images = files_below(folder, *(f"sub-*_{suffix}{end}" for end in EXTENSIONS))
    images = [path for path in images if path.relative_to(folder).parts[0].startswith("sub-")]
    derived = [path for path in images if PREPROC in path.name and "_space-" not in path.name]
    chosen = derived or [path for path in images if "_desc-" not in path.name]
    if not chosen:
        remedy = "Give a BIDS folder, derivatives of brainseg-bids, or another --suffix"
        raise UsageError(folder, f"there is no image sub-*_{suffix}", remedy)
    return [_source(path, folder, suffix) for path in chosen]


def _source(path: Path, folder: Path, suffix: str) -> Source:
    stem = path.name.split(".nii")[0].removesuffix(f"_{suffix}")
    rating = score = None
    if stem.endswith(PREPROC):
        stem = stem.removesuffix(PREPROC)
        rated = path.with_name(f"{stem}_desc-quality_metrics.json")
        if rated.is_file():
            content = json.loads(rated.read_text(encoding="utf-8"))
            rating, score = content.get("Verdict"), content.get("Score")
    return Source(path, str(path.parent.relative_to(folder) / stem), rating, score)
