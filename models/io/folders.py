"""Files below a folder, through linked folders too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

IMAGES = ("*.nii", "*.nii.gz")
"""Names of NIfTI files."""


def files_below(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder in alphabetical order; hidden ones and hidden folders are left out.

    Links to folders are followed, as datasets often consist of them; a link to a folder above it is not.

    Parameters
    ----------
    folder : Path
        The folder.
    *patterns : str
        Names of the files with wildcards; by default all files.

    Returns
    -------
    list of Path
        Paths below ``folder``, links not resolved.
    """
    wanted = patterns or ("*",)
    found = _walk(folder, frozenset())
    return sorted(path for path in found if any(fnmatch(path.name, pattern) for pattern in wanted))


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), above | {real})
            elif (
                entry.is_file() or entry.is_symlink()
            ):  # a link to nowhere too, so that its reader can say so
                yield Path(entry.path)
