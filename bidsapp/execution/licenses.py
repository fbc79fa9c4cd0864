"""Restrictions by the licenses of the networks, printed once for each population."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...models.population import cards, populations
from ..config.settings import Settings
from ..inputs import options

if TYPE_CHECKING:  # the single-file tools need no index of a dataset
    from ..inputs.select import ParticipantSession


def notes(settings: Settings, participant_sessions: list[ParticipantSession]) -> list[str]:
    """Return the restrictions for the populations of participant-sessions, each once.

    Parameters
    ----------
    settings : Settings
        Settings of the run; lesion segmentation has a network and a license of its own.
    participant_sessions : list of ParticipantSession
        The participant-sessions; those that cannot be processed are skipped.

    Returns
    -------
    list of str
        One note for each population with restrictions.
    """
    usable = [ps for ps in participant_sessions if ps.problem is None]
    lesions = {ps.population for ps in usable if settings.step("lesion") and _lesions(settings, ps)}
    found = (
        cards.restricted(options.record(settings, name), *(("lesion",) if name in lesions else ()))
        for name in sorted({ps.population for ps in usable})
    )
    return [note for note in found if note]


def _lesions(settings: Settings, ps: ParticipantSession) -> bool:
    """Return whether the lesions of a participant-session are segmented."""
    return ps.image is not None and options.lesions(settings, ps.population, (ps.image, *ps.other_contrasts))


def print_note(given: argparse.Namespace) -> None:
    """Print the restrictions of the networks of ``--population`` on standard error.

    Parameters
    ----------
    given : Namespace
        Arguments of the command.
    """
    note = cards.restricted(populations.load(given.population))
    if note:
        print(f"note: {note}", file=sys.stderr)
