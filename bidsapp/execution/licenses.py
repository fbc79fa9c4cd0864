"""Restrictions by the licenses of the networks, printed once for each population."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...models.population import populations
from ..config.settings import Settings

if TYPE_CHECKING:  # the single-file tools need no index of a dataset
    from ..inputs.select import ParticipantSession


def notes(settings: Settings, participant_sessions: list[ParticipantSession]) -> list[str]:
    """Return the restrictions for the populations of participant-sessions, each once.

    Parameters
    ----------
    settings : Settings
        They say whether lesions are segmented, which has a network of its own.
    participant_sessions : list of ParticipantSession
        Those that cannot be processed are left out.
    """
    steps = ("lesion",) if settings.step("lesion") else ()
    names = sorted({ps.population for ps in participant_sessions if ps.problem is None})
    found = (populations.restricted(populations.load(name), *steps) for name in names)
    return [note for note in found if note]


def tell(given: argparse.Namespace) -> None:
    """Say on standard error what the networks of a command's ``--population`` are restricted to."""
    note = populations.restricted(populations.load(given.population))
    if note:
        print(f"note: {note}", file=sys.stderr)
