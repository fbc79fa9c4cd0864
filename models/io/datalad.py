"""Files of a DataLad or git-annex dataset whose content has not been fetched."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

POINTER = b"/annex/objects/"
LONGEST_POINTER = 32768
"""Bytes that a pointer file can have (git-annex reads no more)."""


def absent(path: Path) -> bool:
    """Whether a file is there by name only: a link to nowhere, or git-annex's pointer in place of content.

    Parameters
    ----------
    path : Path
        The file.
    """
    if path.is_symlink():
        return not path.exists()
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_POINTER:
            return False
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def command(root: Path, paths: Iterable[Path]) -> str:
    """The command that fetches the content of files of a dataset.

    Examples
    --------
    >>> command(Path("/data/my study"), [Path("/data/my study/sub-1/anat/sub-1_T1w.nii.gz")])
    "datalad get -d '/data/my study' '/data/my study/sub-1/anat/sub-1_T1w.nii.gz'"
    """
    return shlex.join(["datalad", "get", "-d", str(root), *map(str, paths)])
