"""Files that stand beside their place because the process that wrote them was killed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

BESIDE = re.compile(r"\.(.+\.[0-9a-f]+(\.partial)?|brainseg-[0-9a-f]+)")
"""Names of such files: that of the file to be, hidden, with something that no two processes share."""

OLD = 3600.0
"""Age (s) from which a file is nobody's: no file takes that long to write."""


def sweep_unit(out_dir: Path, key: str) -> None:
    """Remove those of a unit that this process has claimed, so that nobody else writes them."""
    participant = key.partition("_")[0]
    folders = [out_dir.joinpath(*key.split("_"), "anat"), out_dir / participant / "figures"]
    for folder in folders:
        _remove(path for path in _beside(folder) if path.name.startswith(f".{key}_"))
    _remove(path for path in _beside(out_dir / "logs" / "status") if path.name.startswith(f".{key}.json."))


def sweep_old(out_dir: Path) -> None:
    """Remove old ones of the dataset as a whole; a young one may be another process's."""
    before = time.time() - OLD
    for folder in (out_dir, out_dir / "logs"):
        with suppress(OSError):
            _remove(path for path in _beside(folder) if path.lstat().st_mtime < before)


def _beside(folder: Path) -> Iterator[Path]:
    for path in folder.glob(".*"):
        if BESIDE.fullmatch(path.name) and path.is_file():
            yield path


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
