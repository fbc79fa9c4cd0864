"""Input files of a participant-session, known by their place in the dataset, size and checksum.

A dataset that was copied or moved has the same files. A file is read for its checksum only where that
decides: the place and the size are the same, and the time is another.
"""

from __future__ import annotations

import hashlib
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..inputs.select import ParticipantSession

CHECKSUM = "sha256"
"""Name of the checksum in the status file, and of its method."""


def of(participant_session: ParticipantSession, *, checksums: bool = False) -> dict[str, Any]:
    """Return place, size and time of all input files of a participant-session.

    Parameters
    ----------
    participant_session : ParticipantSession
        The participant-session.
    checksums : bool
        Whether to read the files for their checksums too.

    Returns
    -------
    dict
        Those of the reference image; the list ``more`` has those of the other files.
    """
    label = participant_session.participant
    first, *more = (fingerprint(path, label, checksums=checksums) for path in _files(participant_session))
    return first | ({"more": more} if more else {})


def fingerprint(path: Path | None, participant: str, *, checksums: bool = False) -> dict[str, Any]:
    """Return place, size and time of a file, and its checksum if asked for.

    Parameters
    ----------
    path : Path or None
        The file.
    participant : str
        Label of the participant.
    checksums : bool
        Whether to read the file for its checksum.
    """
    out: dict[str, Any] = {"path": place(path, participant), "size": None, "mtime": None}
    try:
        found = path.stat() if path else None
    except OSError:
        found = None
    if path is None or found is None:
        return out
    out |= {"size": found.st_size, "mtime": round(found.st_mtime, 3)}
    finite = stat.S_ISREG(found.st_mode)  # devices and pipes have no end
    if checksums and finite and (text := _checksum(path, found.st_size, found.st_mtime_ns)):
        out[CHECKSUM] = text
    return out


def place(path: str | Path | None, participant: str) -> str:
    """Return the path of a file below its dataset; only the name outside of the participant's folder.

    Examples
    --------
    >>> place("/data/study/sub-01/anat/sub-01_T1w.nii.gz", "01")
    'sub-01/anat/sub-01_T1w.nii.gz'
    >>> place("sub-01/anat/sub-01_T1w.nii.gz", "01")
    'sub-01/anat/sub-01_T1w.nii.gz'
    """
    if not path:
        return ""
    parts = Path(path).parts
    folders = [number for number, part in enumerate(parts[:-1]) if part == f"sub-{participant}"]
    return "/".join(parts[folders[-1] :]) if folders else parts[-1]


def unchanged(before: Any, participant_session: ParticipantSession) -> bool:
    """Return whether all input files are those of an earlier status.

    Parameters
    ----------
    before : object
        ``inputs`` of the status file; earlier versions have absolute paths and no checksums.
    participant_session : ParticipantSession
        The participant-session.
    """
    if not isinstance(before, dict):
        return False
    more = before.get("more", [])
    known, files = [before, *(more if isinstance(more, list) else [None])], _files(participant_session)
    label = participant_session.participant
    return len(known) == len(files) and all(
        same(one, path, label) for one, path in zip(known, files, strict=True)
    )


def same(before: Any, path: Path | None, participant: str) -> bool:
    """Return whether a file is the one of an earlier status.

    Parameters
    ----------
    before : object
        Its fingerprint then.
    path : Path or None
        The file.
    participant : str
        Label of the participant.
    """
    if not isinstance(before, dict):
        return False
    now = fingerprint(path, participant)
    then = place(str(before.get("path") or ""), participant)
    if then != now["path"] or before.get("size") != now["size"]:
        return False
    if before.get("mtime") == now["mtime"]:
        return True
    checksum = before.get(CHECKSUM)
    return bool(checksum) and checksum == fingerprint(path, participant, checksums=True).get(CHECKSUM)


def retimed(before: dict[str, Any], participant_session: ParticipantSession) -> dict[str, Any]:
    """Return the inputs of an earlier status with the times of today, so that no checksum is needed again.

    Parameters
    ----------
    before : dict
        ``inputs`` of the status file, of the same files.
    participant_session : ParticipantSession
        The participant-session.
    """
    known = [{k: v for k, v in before.items() if k != "more"}, *before.get("more", [])]
    paths = _files(participant_session)
    pairs = zip(known, paths, strict=True)
    first, *more = (one | fingerprint(path, participant_session.participant) for one, path in pairs)
    return first | ({"more": more} if more else {})


def _files(participant_session: ParticipantSession) -> list[Path | None]:
    """Return all input files, the reference image first."""
    return [
        participant_session.image,
        *participant_session.averaged,
        *participant_session.other_contrasts,
        *participant_session.precomputed.files.values(),
        *participant_session.maps.values(),
    ]


@lru_cache(maxsize=1024)
def _checksum(path: Path, size: int, mtime_ns: int) -> str:
    """Return the checksum of a file, empty if it cannot be read; size and time are for the cache."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, CHECKSUM).hexdigest()
    except OSError:
        return ""
