"""Sharing of participant-sessions among processes: each is claimed when its work begins, after a new look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..inputs.select import ParticipantSession
from . import records
from .claims import Claims

ELSEWHERE = "another process is processing it"
"""Why a participant-session is skipped that another process has claimed."""


class Sharing:
    """What this process has claimed, and what it has seen of the others.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    settings : dict
        Settings that change results.
    """

    def __init__(self, out_dir: Path, settings: dict[str, Any]) -> None:
        self.out_dir, self.settings = out_dir, settings
        self.claims = Claims(out_dir)
        self._seen: dict[str, tuple[Any, ...]] = {}

    def look(self, key: str) -> dict[str, Any]:
        """Note the status of a participant-session, to see later whether another process has changed it."""
        content = records.read(self.out_dir, key)
        self._seen[key] = records.version_of(content)
        return content

    def take(self, participant_session: ParticipantSession) -> tuple[str, dict[str, Any]]:
        """Claim a participant-session, and look anew whether another process has done it.

        Parameters
        ----------
        participant_session : ParticipantSession
            The participant-session.

        Returns
        -------
        why : str
            Why it is skipped; empty if it is claimed.
        before : dict
            Content of its status file.

        Raises
        ------
        OSError
            If the claim cannot be written.
        """
        key = participant_session.key
        if not self.claims.take(key):
            return ELSEWHERE, {}
        before = records.read(self.out_dir, key)
        changed = records.version_of(before) != self._seen.get(key)
        why = self.ended(participant_session, before) if changed and participant_session.image else ""
        if why:
            self.claims.release(key)
        return why, before

    def ended(self, participant_session: ParticipantSession, before: dict[str, Any]) -> str:
        """Return how another process has ended its work; empty if that is left to do."""
        if records.finished(self.out_dir, participant_session, self.settings) != "no":
            return "another process has done it meanwhile"
        fault = before.get("error") or {}
        if before.get("state") == "failed" and fault.get("kind") != records.STOPPED:
            return f"another process tried it meanwhile, and it failed ({fault.get('reason')})"
        return ""
