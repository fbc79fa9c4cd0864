"""The user's folders, whose networks, label tables and population records stand beside the shipped ones."""

from __future__ import annotations

import os
from pathlib import Path

from . import FOLDER

VARIABLE = "BRAINSEG_MODELS"
"""Environment variable with folders, separated like those of ``PATH``."""


def folders() -> list[Path]:
    """Return the user's folders, the first of them for new files.

    They are those of ``$BRAINSEG_MODELS``; otherwise ``$XDG_CONFIG_HOME/brainseg`` (``~/.config/brainseg``).
    The folder of earlier versions (``~/.local/share/brainseg/models``) comes last.
    """
    chosen = [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    if not chosen:
        chosen = [_base("XDG_CONFIG_HOME", ".config") / "brainseg"]
    return list(dict.fromkeys([*chosen, _base("XDG_DATA_HOME", ".local/share") / "brainseg" / "models"]))


def find(kind: str, name: str) -> Path | None:
    """Return the path of a shipped file or of one of the user's; None if there is none.

    Parameters
    ----------
    kind : str
        Folder of ``models/data``, such as ``weights``. In the user's folders, files of all kinds stand
        together or in folders of these names.
    name : str
        Name of the file.

    Examples
    --------
    >>> find("labels", "tissue.tsv").name, find("labels", "nothing.tsv")
    ('tissue.tsv', None)
    """
    return next((place / name for place in _places(kind) if (place / name).is_file()), None)


def every(kind: str, ending: str) -> dict[str, Path]:
    """Return the files of a kind by their names without ``ending``: the shipped ones, then the user's.

    Examples
    --------
    >>> list(every("populations", ".toml"))[:3]
    ['adult', 'fetal', 'infant']
    """
    found: dict[str, Path] = {}
    for place in _places(kind):
        for path in sorted(place.glob(f"*{ending}")):
            found.setdefault(path.name.removesuffix(ending), path)
    return found


def is_shipped(path: Path) -> bool:
    """Return whether a file came with the program."""
    return FOLDER in path.parents


def _places(kind: str) -> list[Path]:
    return [FOLDER / kind, *(place for folder in folders() for place in (folder / kind, folder))]


def _base(variable: str, default: str) -> Path:
    try:
        return Path(os.environ.get(variable) or Path.home() / default)
    except RuntimeError:  # no home, as in a container
        return Path("/nonexistent")
