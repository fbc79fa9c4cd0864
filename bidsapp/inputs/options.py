"""Options that the populations of the selected participant-sessions may not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...models.data import model_files
from ...models.errors import UsageError
from ...models.parcellation import names
from ...models.pipeline import lesion_image
from ...models.pipeline.networks import record_of
from ...models.population import cards, contrasts, populations
from ...models.population.populations import Population
from ...models.templates import spaces
from ..config.settings import Settings


def check(settings: Settings, population_names: Iterable[str]) -> None:
    """Refuse options and networks that no selected population has.

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
    population_names = list(population_names)
    check_networks(settings, population_names)
    records = [record(settings, name) for name in dict.fromkeys(population_names)]
    # A network of own labels can be averaged with the mirror image in every population.
    asked = [one for one in records if one.methods and not one.own_labels]
    refused = [error for one in asked if (error := populations.refusal(one, "effort"))]
    if settings.effort != "fast" and refused and len(refused) == len(asked):
        raise refused[0]
    for step in _requested_parts(settings):
        if records and not any(step in cards.finer_tables(one) for one in records):
            listed = " and ".join(one.name for one in records)
            reason = f"the step {step} is not available for {listed} brains: no network predicts it"
            raise UsageError(None, reason, f"Leave {step} out of --steps")


def notes(settings: Settings, population: str) -> list[str]:
    """Return notes on requested steps and networks that a population does not have."""
    available = cards.finer_tables(record(settings, population))
    return [
        f"The step {step} was left out: no network predicts it for {population} brains."
        for step in _requested_parts(settings)
        if step not in available
    ] + networks(settings, population)[1]


def lesions(settings: Settings, population: str, images: Sequence[Path]) -> bool:
    """Return whether the lesions of a participant-session are segmented.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population : str
        Name of the population.
    images : sequence of Path
        The reference image, and those that are coregistered to it.
    """
    wanted = settings.step("lesion") and settings.stop_after != "skullstrip"
    return wanted and not _no_lesions(settings, population, images)


def left_out(settings: Settings, population: str, images: Sequence[Path]) -> list[str]:
    """Return notes on the steps that the images of a participant-session do not allow.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population : str
        Name of the population.
    images : sequence of Path
        The reference image, and those that are coregistered to it.
    """
    if settings.stop_after == "skullstrip":
        return []
    reasons = [_no_lesions(settings, population, images)] if settings.step("lesion") else []
    if settings.step("hippocampus"):
        model = record(settings, population).hippocampus
        reasons.append(contrasts.hippocampus_skipped(_suffix(images[0]), model))
    return [reason for reason in reasons if reason]


def _no_lesions(settings: Settings, population: str, images: Sequence[Path]) -> str:
    """Return the reason why lesions are not segmented in these images; empty if they are."""
    model, suffixes = record(settings, population).lesion, [_suffix(path) for path in images]
    shown = lesion_image.shown_in(suffixes, model) or 0
    return lesion_image.skipped(suffixes[shown], model, settings.force, suffixes)


def _suffix(path: Path) -> str:
    return path.name.split(".")[0].rpartition("_")[2]


def atlases(settings: Settings, population: str) -> tuple[str, ...]:
    """Return the atlases of a population's participant-sessions: its own parcellation, then the user's.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population : str
        Name of the population.
    """
    own = record(settings, population).parcellation
    if not settings.step("parcels") or settings.registration == "none":
        own = ""
    return tuple(dict.fromkeys(filter(None, (own, *settings.atlases))))


def atlas_notes(settings: Settings, population: str, spaces_named: Iterable[str]) -> list[str]:
    """Return notes on atlases that a participant-session does not get, and on maps without parcels.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population : str
        Name of the population.
    spaces_named : iterable of str
        Output spaces of the participant-session.
    """
    there = {spaces.parse(text).name: text for text in spaces_named}
    named = [names.parse(text) for text in atlases(settings, population)]
    missing = [name for name in named if name.template not in there]
    out = [names.not_in_space(name, there.values()) for name in missing]
    own = record(settings, population).parcellation
    if own and settings.step("parcels") and settings.registration == "none":
        out.append(f"The parcels of {own} were left out: they need a registration that deforms.")
    if settings.maps and len(missing) == len(named):
        out.append(f"The maps ({', '.join(settings.map_paths)}) were left out: there are no parcels.")
    return out


def _requested_parts(settings: Settings) -> list[str]:
    """Return the requested steps that need a finer label table."""
    known = {step for name in populations.valid() for step in populations.load(name).parts}
    return [step for step in sorted(known) if settings.step(step)]


def networks(settings: Settings, population: str) -> tuple[dict[str, str], list[str]]:
    """Return the networks that fit a population by step, and notes on the others.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population : str
        The population.
    """
    fit: dict[str, str] = {}
    notes = []
    for step, name in settings.networks.items():
        try:
            record_of(population, {step: name})
            fit[step] = name
        except UsageError as error:
            notes.append(f"The network {model_files.title(name)} was not used: {error.reason}.")
    return fit, notes


def record(settings: Settings, population: str) -> Population:
    """Return the record of a population, with the networks of the user that fit it."""
    return record_of(population, networks(settings, population)[0])


def pinned(settings: Settings, population: str) -> dict[str, str]:
    """Return the networks of the user that fit a population, with the SHA-256 of each."""
    return {step: model_files.pinned(name) for step, name in networks(settings, population)[0].items()}


def check_networks(settings: Settings, population_names: Iterable[str]) -> None:
    """Refuse networks that fit no selected population.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    population_names : iterable of str
        Populations of the selected participant-sessions; with none, every population counts.

    Raises
    ------
    UsageError
        If a network fits none.
    """
    asked = list(dict.fromkeys(population_names)) or populations.trained()
    for step, name in settings.networks.items():
        errors = []
        for population in asked:
            try:
                record_of(population, {step: name})
            except UsageError as error:
                errors.append(error)
        if len(errors) == len(asked):
            first = errors[0]
            raise UsageError(None, f"--network {step}={name}: {first.reason}", first.remedy)
