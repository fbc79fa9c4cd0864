"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from platform import node

MARK = ".partial"
"""Part of the name of a temporary file: ``.NAME.HEX.partial``, hidden, in the folder of the file to be."""


@cache
def _machine() -> str:
    """Return eight hexadecimal digits of this machine, or of a container with processes of its own."""
    processes = ""
    with suppress(OSError):
        processes = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    return f"{zlib.crc32(f'{node()} {processes}'.encode()):08x}"


def abandoned(name: str) -> bool:
    """Return whether the process that wrote a temporary file has ended; False if it is not known.

    Parameters
    ----------
    name : str
        Name of the file.

    Examples
    --------
    >>> abandoned(f".a.txt.{_machine()}{os.getpid():08x}12ab.partial"), abandoned(".a.txt.12ab34cd.partial")
    (False, False)
    """
    digits = name.partition(MARK)[0].rpartition(".")[2]
    if len(digits) != 20 or not digits.startswith(_machine()):
        return False
    try:
        os.kill(int(digits[8:16], 16), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False


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
        f".{path.name}.{_machine()}{os.getpid():08x}{uuid.uuid4().hex[:4]}{MARK}"
        + (extension if keep_extension else "")
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
