"""Text files in the encodings that people write."""

from __future__ import annotations

import codecs
from pathlib import Path

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Encodings by the mark at the beginning of a file."""

OTHERS = ("utf-8", "cp1252", "latin-1")
"""Encodings that are tried in turn; the last one reads everything."""


def read(path: Path) -> tuple[str, str | None]:
    """Return the text of a file, and a note if it is not UTF-8 as BIDS wants it.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    return decoded(path.read_bytes(), path.name)


def decoded(content: bytes, name: str) -> tuple[str, str | None]:
    """Return the text of bytes, and a note if they are not UTF-8.

    Parameters
    ----------
    content : bytes
        Content of a file.
    name : str
        Its name, for the note.

    Examples
    --------
    >>> decoded("Köln".encode("latin-1"), "a.tsv")
    ('Köln', 'a.tsv is not UTF-8, as BIDS wants it: it was read as cp1252.')
    """
    marked = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), None)
    for encoding in ([marked] if marked else []) + [*OTHERS]:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding.startswith("utf-8"):
            return text, None
        return text, f"{name} is not UTF-8, as BIDS wants it: it was read as {encoding}."
    raise AssertionError("latin-1 reads everything")
