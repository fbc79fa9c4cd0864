"""Atlases and maps of the user (``--atlases``, ``--maps``): checked before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...models.parcellation import names, tables
from ...models.templates import spaces

FIELDS = {"key": "sub-01_ses-1", "folder": "sub-01/ses-1", "participant": "01", "session": "1"}
"""Fields of a map's path, and what they stand for."""


def both(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return ``atlases`` and ``maps`` of settings with their ``output_spaces`` and ``steps``.

    Raises
    ------
    UsageError
        If there are maps, but no parcels.
    """
    found = {
        "atlases": choose(values.get("atlases", ()), values["output_spaces"]),
        "maps": maps(values.get("maps", ())),
    }
    said = [word for word in values.get("steps", ()) if word.removeprefix("no-") == "parcels"]
    if found["maps"] and not found["atlases"] and said and said[-1] == "no-parcels":
        remedy = "Add --atlases, such as Schaefer100, or leave --steps no-parcels out"
        raise UsageError(None, "--maps needs parcels to measure in", remedy)
    return found


def choose(texts: Any, output_spaces: Iterable[str]) -> tuple[str, ...]:
    """Return the atlases, each once, with absolute paths.

    Parameters
    ----------
    texts : str or iterable of str
        Arguments of ``--atlases``.
    output_spaces : iterable of str
        Output spaces, whose transforms carry the atlases.

    Raises
    ------
    UsageError
        If one is unknown or invalid, lies in no output space, or two would have the same file names.
    MissingFileError
        If its files are missing.
    InputError
        If its files are invalid.
    """
    there = [spaces.parse(text) for text in output_spaces]
    out: dict[str, str] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        name = names.parse(text)
        if name.template not in {space.name for space in there}:
            listed = " ".join(map(str, there))
            reason = f"--atlases {name}: it lies in {name.space}, which is no output space ({listed})"
            raise UsageError(None, reason, f"Add {name.space.replace('+', ':cohort-')} to --output-spaces")
        tables.read_table(names.find(name).table)
        if out.setdefault(name.label, str(name)) != str(name):
            reason = f"--atlases {out[name.label]} and {name}: results would have the same names"
            raise UsageError(None, reason, "Give NAME=IMAGE another NAME")
    return tuple(out.values())


def maps(texts: Any) -> tuple[str, ...]:
    """Return ``NAME=PATH`` with absolute paths; the fields of the paths stay.

    Parameters
    ----------
    texts : str or iterable of str
        Arguments of ``--maps``; a relative path that does not exist here is one in the dataset.

    Raises
    ------
    UsageError
        If one is no ``NAME=PATH``, a name is given twice, or a field is unknown.

    Examples
    --------
    >>> maps(["T2w={folder}/anat/{key}_T2w.nii.gz"])
    ('T2w={folder}/anat/{key}_T2w.nii.gz',)
    """
    out: dict[str, str] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        name, equals, path = str(text).partition("=")
        if not (equals and path and name.isalnum()):
            reason = f"--maps {text} is not NAME=PATH, with letters and digits in NAME"
            raise UsageError(None, reason, "Example: T2w={folder}/anat/{key}_T2w.nii.gz")
        try:
            path.format(**FIELDS)
        except (KeyError, IndexError, ValueError):
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise UsageError(None, f"--maps {text}: an unknown field in the path", f"Use {known}") from None
        if name in out:
            raise UsageError(None, f"--maps names {name} twice", "Give every map a name of its own")
        here = Path(path).expanduser()
        out[name] = str(here.absolute() if here.is_file() else here)
    return tuple(f"{name}={path}" for name, path in out.items())


def digests(texts: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of atlases by the names in their files, wherever they are."""
    return {name.label: tables.digest(name) for name in map(names.parse, texts)}


def folders(atlas_texts: Iterable[str], paths: Iterable[str]) -> list[Path]:
    """Return the folders outside of the dataset that atlases and maps are read from.

    Parameters
    ----------
    atlas_texts : iterable of str
        Atlases as in the settings.
    paths : iterable of str
        Paths of maps; relative ones are in the dataset.

    Examples
    --------
    >>> [str(path) for path in folders(["Lab=/data/lab_dseg.nii.gz"], ["/qmri/{folder}/{key}_T1map.nii.gz"])]
    ['/data', '/qmri']
    """
    found = [name.path.parent for name in map(names.parse, atlas_texts) if name.path is not None]
    fixed = (Path(re.split(r"[{*?\[]", path)[0] + "x") for path in paths)
    return found + [path.parent for path in fixed if path.is_absolute()]
