"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = ".partial"
"""Part of the name of a temporary file: ``.NAME.HEX.partial``, hidden, in the folder of the file to be."""


@contextmanager
def replacing(path: Path, *, keep_extension: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` at the end of the block.

    Parameters
    ----------
    path : Path
        The file to write; missing folders are created.
    keep_extension : bool
        Whether the temporary name ends as ``path`` does, for writers that take the format from the name.

    Yields
    ------
    Path
        The temporary path. If the block raises, it is removed and ``path`` keeps its content.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    extension = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    temporary = path.with_name(
        f".{path.name}.{uuid.uuid4().hex[:8]}{MARK}{extension if keep_extension else ''}"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file and return its path."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a binary file and return its path."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
