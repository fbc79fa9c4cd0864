"""Folders of precomputed derivatives (``--derivatives``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...models.errors import UsageError


def named(texts: Any) -> tuple[str, ...]:
    """Return ``NAME=PATH`` with absolute paths; a path alone is named after its folder.

    Parameters
    ----------
    texts : str or iterable of str
        Arguments of ``--derivatives``.

    Raises
    ------
    UsageError
        If a folder does not exist, or two have the same name.
    """
    out: dict[str, Path] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        name, equals, path = str(text).partition("=")
        folder = Path(path if equals else name).expanduser().resolve()
        name = name if equals else folder.name
        if not folder.is_dir():
            raise UsageError(folder, "--derivatives: there is no such folder", "Check the path")
        if not name.isalnum():
            name = "".join(letter for letter in name if letter.isalnum()) or "derivatives"
        if name in out and out[name] != folder:
            raise UsageError(
                folder, f"--derivatives: two folders are named {name!r}", "Give them as NAME=PATH"
            )
        out[name] = folder
    return tuple(f"{name}={folder}" for name, folder in out.items())
