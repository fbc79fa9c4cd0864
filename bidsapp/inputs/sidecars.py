"""JSON sidecars that apply to an image by BIDS' inheritance principle, and whether they can be read."""

from __future__ import annotations

import json
import os
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...models.errors import InputError
from ...models.io import datalad
from . import texts


def applicable(image: Path, root: Path) -> list[Path]:
    """Sidecars of ``image``, from the dataset's root down to its own folder."""
    entities, suffix = _parts(image.name.split(".")[0])
    folders = [folder for folder in image.parents if folder == root or root in folder.parents]
    out = []
    for folder in reversed(folders):
        for name in _json_files(folder, folder.stat().st_mtime_ns):
            own, own_suffix = _parts(name.removesuffix(".json"))
            if own_suffix == suffix and own <= entities:
                out.append(folder / name)
    return out


@lru_cache(maxsize=64)
def _json_files(folder: Path, changed: int) -> tuple[str, ...]:
    """Return the names of the JSON files of a folder, in order."""
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json")))


def read(image: Path, root: Path, notes: list[str] | None = None) -> dict[str, Any]:
    """Metadata of ``image``; what lies nearer to it wins. Notes on how it was read are appended.

    Raises
    ------
    InputError
        If a sidecar is broken; it names that file.
    """
    out: dict[str, Any] = {}
    for path in applicable(image, root):
        out |= read_object(path, notes)
    return out


def read_object(path: Path, notes: list[str] | None = None) -> dict[str, Any]:
    """Content of a JSON file that holds an object. A note is appended if it is not UTF-8.

    Raises
    ------
    InputError
        If it cannot be read, is no JSON, or holds something else.
    """
    remedy = "Correct it (a JSON checker finds the place) or remove it"
    if datalad.absent(path):
        fetch = f"Run: datalad get {shlex.quote(str(path))}"
        raise InputError(path, "its content is not on this machine", fetch)
    if path.exists() and not path.is_file():
        raise InputError(path, "it is not a file", remedy)
    try:
        text, note = texts.read(path)
        content = json.loads(text)
    except OSError as error:
        raise InputError(path, f"the JSON file cannot be read ({error.strerror})", "Fetch it again") from None
    except json.JSONDecodeError as error:
        where = "it is empty" if not error.doc.strip() else f"line {error.lineno}: {error.msg}"
        raise InputError(path, f"it is not valid JSON ({where})", remedy) from None
    except ValueError as error:
        raise InputError(path, f"it is not valid JSON ({error})", remedy) from None
    except RecursionError:
        raise InputError(path, "it is not valid JSON (nested without end)", remedy) from None
    if not isinstance(content, dict):
        raise InputError(path, f"it holds a JSON {type(content).__name__}, not an object", remedy)
    if note and notes is not None:
        notes.append(note)
    return content


def _parts(stem: str) -> tuple[set[str], str]:
    """Entities (``key-value``) and suffix of a name without extension."""
    *entities, suffix = stem.split("_")
    return set(entities), suffix
