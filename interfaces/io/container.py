"""The container that the program runs in, and the places of its folders outside of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IMAGE = "BRAINSEG_BIDS_IMAGE"
"""Environment variable with the name and tag of the image, which the Dockerfile sets."""

APPTAINER = {"apptainer": "APPTAINER_CONTAINER", "singularity": "SINGULARITY_CONTAINER"}
"""Environment variables with the image of a container, by its type; Apptainer sets both."""

BINDS = ("APPTAINER_BIND", "SINGULARITY_BIND")
"""Environment variables with the folders that are bound, ``SOURCE:TARGET:OPTIONS`` with commas between."""

MARKS = {"podman": "/run/.containerenv", "docker": "/.dockerenv"}
"""Files that are only in containers of a type."""

MOUNTS = Path("/proc/self/mountinfo")
SUBVOLUMES = ("btrfs", "zfs", "overlay", "tmpfs")
"""File systems whose paths do not tell where their folders are relative to each other outside."""


def description(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return type, tag and URI of the container as in ``GeneratedBy``; empty outside of a container.

    Parameters
    ----------
    environ : mapping of str to str
        Environment variables.

    Examples
    --------
    >>> description({"APPTAINER_CONTAINER": "/images/b.sif", "BRAINSEG_BIDS_IMAGE": "brainseg-bids:0.1.0"})
    {'Type': 'apptainer', 'Tag': 'brainseg-bids:0.1.0', 'URI': 'file:///images/b.sif'}
    >>> description({})
    {}
    """
    kind = _kind(environ)
    if not kind:
        return {}
    tag, image = environ.get(IMAGE, ""), environ.get(APPTAINER.get(kind, ""), "")
    uri = Path(image).as_uri() if image.startswith("/") else image
    out = {"Type": kind, "Tag": tag if not tag.endswith(":unknown") else "", "URI": uri}
    return {name: text for name, text in out.items() if text}


def words(found: object) -> str:
    """Return the description of a container in words, for the pages.

    Examples
    --------
    >>> words({"Type": "apptainer", "Tag": "brainseg-bids:0.1.0", "URI": "file:///images/b.sif"})
    'apptainer, brainseg-bids:0.1.0, file:///images/b.sif'
    """
    found = found if isinstance(found, dict) else {}
    return ", ".join(str(found[name]) for name in ("Type", "Tag", "URI") if found.get(name))


def link(
    folder: Path, origin: Path, environ: Mapping[str, str] = os.environ, mounts: Path = MOUNTS
) -> str | None:
    """Return the link from one folder in a container to another that holds outside of it.

    Parameters
    ----------
    folder : Path
        The folder to link to.
    origin : Path
        The folder that the link is relative to.
    environ : mapping of str to str
        Environment variables.
    mounts : Path
        List of the mounts, as the Linux kernel writes it.

    Returns
    -------
    str or None
        A relative path or a URI; None outside of a container, and where the places are not known.
    """
    if not _kind(environ):
        return None
    bound = _bound(environ)
    target, start = _source(folder, bound), _source(origin, bound)
    if target is not None:
        return relative(target, start) if start is not None else target.as_uri()
    there, here = _mounted(folder, mounts), _mounted(origin, mounts)
    if there is None or here is None or there.device != here.device or there.kind in SUBVOLUMES:
        return None
    return Path(os.path.relpath(there.path, here.path)).as_posix()


def relative(folder: Path, origin: Path) -> str:
    """Return a link: a relative path if the folders are close, else a URI.

    Examples
    --------
    >>> relative(Path("/data/raw"), Path("/data/raw/derivatives/brainseg"))
    '../..'
    >>> relative(Path("/data/raw"), Path("/data/derivatives"))
    '../raw'
    >>> relative(Path("/data/raw"), Path("/scratch/out"))
    'file:///data/raw'
    """
    if folder in origin.parents or folder.parent == origin.parent:
        return Path(os.path.relpath(folder, origin)).as_posix()
    return folder.as_uri()


@dataclass(frozen=True)
class _Place:
    """A folder in a file system: its device, its path there, and the type of the file system."""

    device: str
    path: Path
    kind: str


def _kind(environ: Mapping[str, str]) -> str:
    """Return the type of the container; empty outside, and in one that is not of this program's image."""
    named = next((kind for kind, name in APPTAINER.items() if environ.get(name)), "")
    if named or not environ.get(IMAGE):
        return named
    return next((kind for kind, path in MARKS.items() if Path(path).exists()), "docker")


def _bound(environ: Mapping[str, str]) -> dict[Path, Path]:
    """Return the sources of the bound folders by their place in the container."""
    out = {}
    for text in ",".join(environ.get(name, "") for name in BINDS).split(","):
        source, target, *_ = [*text.split(":"), ""]
        if source.startswith("/"):
            out[Path(target or source)] = Path(source)
    return out


def _source(folder: Path, bound: Mapping[Path, Path]) -> Path | None:
    """Return the place of a folder outside; None if it is not below a bound folder."""
    for place in (folder, *folder.parents):
        if place in bound:
            return bound[place] / folder.relative_to(place)
    return None


def _mounted(folder: Path, mounts: Path) -> _Place | None:
    """Return the place of a folder in its file system; None if it is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found, depth = None, -1
    for words_ in (line.split() for line in lines):
        if len(words_) < 7 or "-" not in words_[6:]:
            continue
        device, root, point = words_[2], *(Path(_plain(text)) for text in words_[3:5])
        kind = words_[words_.index("-", 6) + 1]
        # The last of several mounts on one place hides the others.
        if (point == folder or point in folder.parents) and len(point.parts) >= depth:
            depth = len(point.parts)
            found = _Place(device, root / folder.relative_to(point), kind)
    return found


def _plain(text: str) -> str:
    """Return a path of the list of mounts, in which blanks are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
