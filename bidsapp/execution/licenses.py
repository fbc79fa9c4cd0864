"""Restrictions by the licenses of the networks, printed once for each population."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...models.population import populations
from ..config.settings import Settings

if TYPE_CHECKING:  # the single-file tools need no index of a dataset
    from ..inputs.select import Unit


def notes(settings: Settings, units: list[Unit]) -> list[str]:
    """Return the restrictions for the populations of participant-sessions, each once.

    Parameters
    ----------
    settings : Settings
        They say whether lesions are segmented, which has a network of its own.
    units : list of Unit
        Those that cannot be processed are left out.
    """
    steps = ("lesion",) if settings.step("lesion") else ()
    names = sorted({unit.population for unit in units if unit.problem is None})
    found = (populations.restricted(populations.load(name), *steps) for name in names)
    return [note for note in found if note]


def tell(given: argparse.Namespace) -> None:
    """Say on standard error what the networks of a command's ``--population`` are restricted to."""
    note = populations.restricted(populations.load(given.population))
    if note:
        print(f"note: {note}", file=sys.stderr)
