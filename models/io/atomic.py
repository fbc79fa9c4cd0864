"""Files written as a whole: into a hidden file in the same folder, then renamed."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file; readers find the old content or the new one, never a part.

    Parameters
    ----------
    path : Path
        The file; its folder is made if it is missing.
    text : str
        Its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
