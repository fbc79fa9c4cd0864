"""Files of population records (TOML): the shipped ones, and those of users, which can change these."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ..data import FOLDER
from ..errors import UsageError


def read(path: Path) -> dict[str, Any]:
    """Return the content of a record, joined with that of its ``base``.

    Parameters
    ----------
    path : Path
        TOML file; the population has its name.

    Raises
    ------
    UsageError
        If it is not valid, or there is no such base.
    """
    content = _content(path)
    base = content.pop("base", None)
    if base is None:
        return {"name": path.stem} | content
    below = FOLDER / "populations" / f"{base}.toml"
    if not below.is_file():
        known = ", ".join(sorted(one.stem for one in below.parent.glob("*.toml")))
        raise UsageError(path, f"its base {base!r} is no shipped population", f"Use {known}")
    return joined(_content(below), content) | {"name": path.stem}


def joined(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a table with the values of another one in place of its own, at every depth.

    Examples
    --------
    >>> joined({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'a': 1, 'b': {'c': 4, 'd': 3}}
    """
    changed = {
        key: joined(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in changes.items()
    }
    return base | changed


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(path, f"it is not valid TOML ({error})", "Correct it") from None
