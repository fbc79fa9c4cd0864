"""Options that the populations of the selected participant-sessions may not have."""

from __future__ import annotations

from collections.abc import Iterable

from ...models.errors import UsageError
from ...models.population import cards, populations
from ..config.settings import Settings


def check(settings: Settings, population_names: Iterable[str]) -> None:
    """Refuse options that no selected population has.

    Where some populations have an option, the others get a note.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population_names : iterable of str
        Populations of the selected participant-sessions.

    Raises
    ------
    UsageError
        If no population has an option.
    """
    records = [populations.load(name) for name in dict.fromkeys(population_names)]
    asked = [record for record in records if record.methods]
    refused = [error for record in asked if (error := populations.refusal(record, "effort"))]
    if settings.effort != "fast" and refused and len(refused) == len(asked):
        raise refused[0]
    for step in _requested_parts(settings):
        if records and not any(step in cards.finer_tables(record) for record in records):
            listed = " and ".join(record.name for record in records)
            reason = f"the step {step} is not available for {listed} brains: no network predicts it"
            raise UsageError(None, reason, f"Leave {step} out of --steps")


def notes(settings: Settings, population: str) -> list[str]:
    """Return notes on requested steps that the networks of a population do not have."""
    available = cards.finer_tables(populations.load(population))
    return [
        f"The step {step} was left out: no network predicts it for {population} brains."
        for step in _requested_parts(settings)
        if step not in available
    ]


def _requested_parts(settings: Settings) -> list[str]:
    """Return the requested steps that need a finer label table."""
    known = {step for name in populations.names() for step in populations.load(name).parts}
    return [step for step in sorted(known) if settings.step(step)]
