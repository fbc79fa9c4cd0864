"""Mounted file systems: whether a lock of a file on one node is seen on the others."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""Mounted file systems with their options."""

OF_ONE_NODE = {"localflock", "nolock", "local_lock=all", "local_lock=flock"}
"""Options of mounted file systems (Lustre, NFS) whose locks do not reach other nodes."""


def only_here(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Return whether locks of files in a folder do not reach other nodes, by the way it is mounted.

    Parameters
    ----------
    folder : Path
        The folder.
    mounts : Path
        The list of mounted file systems.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return False
    place, found = folder.resolve(), (-1, False)
    for line in lines:
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if len(words) < 6 or len(kind) < 3:
            continue
        point = Path(words[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= found[0]:
            options = {*words[5].split(","), *kind[2].split(",")}
            local = kind[0] == "beegfs" or kind[0].startswith("fuse.") or bool(options & OF_ONE_NODE)
            found = len(point.parts), local
    return found[1]
