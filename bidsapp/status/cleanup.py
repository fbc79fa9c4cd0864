"""Partial files of processes that were killed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...models.io import atomic

PARTIAL = re.compile(r"\.(.+\.[0-9a-f]+(\.partial)?|brainseg-[0-9a-f]+)")
"""Names of partial files: hidden, with a part that is unique to a process."""

OLD = 3600.0
"""Age (s) above which no process writes the file any more."""


def sweep_participant_session(out_dir: Path, key: str) -> None:
    """Remove those of a participant-session that this process has claimed."""
    participant, _, session = key.partition("_ses-")
    place = out_dir / participant / f"ses-{session}" if session else out_dir / participant
    folders = [place / "anat", out_dir / participant / "figures"]
    for folder in folders:
        _remove(path for path in _partial(folder) if path.name.startswith(f".{key}_"))
    ours = (f".{key}.json.", f".{key}.lock.")
    _remove(path for path in _partial(out_dir / "logs" / "status") if path.name.startswith(ours))


def sweep_old(out_dir: Path) -> None:
    """Remove those of the dataset whose process has ended, and old ones; others may still be written."""
    before = time.time() - OLD
    for folder in (out_dir, out_dir / "logs"):
        with suppress(OSError):
            _remove(p for p in _partial(folder) if atomic.abandoned(p.name) or p.lstat().st_mtime < before)


def _partial(folder: Path) -> Iterator[Path]:
    for path in folder.glob(".*"):
        if PARTIAL.fullmatch(path.name) and path.is_file():
            yield path


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
