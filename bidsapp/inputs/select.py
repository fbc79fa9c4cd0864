"""Selection of participants and sessions in the dataset, with the reference image and the facts of each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...models.errors import BrainsegError, InputError, UsageError
from ...models.io import datalad
from ...models.population import cards, populations
from ...models.population.populations import Population
from ...models.templates import spaces
from ..config.settings import TEMPLATES, Settings
from . import filters, mp2rage, names, options, precomputed, reference, sidecars
from .index import Image, anatomical_images
from .labels import SEVERAL, check_dataset, natural, no_image, participants, sessions
from .participants import Demographics
from .population import DEFAULT, no_ages, population_of, unknown_ages, unused
from .precomputed import Precomputed

COREGISTERED = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")
"""Contrasts that are co-registered to the reference image of their session."""


@dataclass(frozen=True)
class ParticipantSession:
    """One participant in one session (or without sessions).

    Attributes
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; the session is None where there are none.
    image : Path or None
        The reference image.
    suffix : str
        Its suffix, such as ``T1w``.
    entities : dict
        Entities of its name as pybids reads them.
    left_out : list of Path
        Further anatomical images, which are not used.
    averaged : list of Path
        Images that make an unbiased reference together; empty if ``image`` alone is it.
    other_contrasts : list of Path
        Images of other contrasts, one of each, that are co-registered to the reference.
    population : str
        Name of the population record.
    label_table : str
        Label table of the structures: that of the population, or a finer one that a step asks for.
    age : float or None
        Age at the scan, from the dataset's tables, in ``age_unit``.
    sex : str or None
        As written there.
    columns : dict of str to str
        Other columns of the dataset's tables for this session, as written.
    precomputed : Precomputed
        Precomputed results.
    maps : dict of str to Path
        Images to measure in the parcels of atlases, by name.
    problem : BrainsegError or None
        Why it cannot be processed.
    notes : list of str
        Notes for the reports.
    choice : str
        Why the image is the reference.
    """

    participant: str
    session: str | None
    image: Path | None
    suffix: str = ""
    entities: dict[str, Any] = field(default_factory=dict)
    left_out: list[Path] = field(default_factory=list)
    averaged: list[Path] = field(default_factory=list)
    other_contrasts: list[Path] = field(default_factory=list)
    population: str = DEFAULT
    label_table: str = DEFAULT
    age: float | None = None
    sex: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    precomputed: Precomputed = field(default_factory=Precomputed)
    maps: dict[str, Path] = field(default_factory=dict)
    problem: BrainsegError | None = None
    notes: list[str] = field(default_factory=list)
    choice: str = ""

    @property
    def key(self) -> str:
        """``sub-01`` or ``sub-01_ses-02``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session is not None else "")

    @property
    def age_unit(self) -> str:
        """Unit of the age: that of the population."""
        return populations.load(self.population).age_unit

    @property
    def gestational_age(self) -> float | None:
        """Gestational age at the scan (weeks); None after birth, or if it is not known."""
        return self.age if self.age_unit == populations.WEEKS else None


@dataclass(frozen=True)
class Selection:
    """The participant-sessions to process.

    Attributes
    ----------
    participant_sessions : list of ParticipantSession
        In name order.
    notes : list of str
        Notes for the log.
    """

    participant_sessions: list[ParticipantSession]
    notes: list[str]


def select(settings: Settings) -> Selection:
    """Find the participant-sessions that the settings select.

    Raises
    ------
    DatasetError
        If the dataset cannot be used at all.
    UsageError
        If a selected participant or session does not exist, or a filter matches nothing.
    """
    root = settings.bids_dir
    notes = check_dataset(root)
    wanted = filters.read(settings.bids_filter_file, notes) if settings.bids_filter_file else {}
    people = Demographics(root)
    notes += people.notes
    labels = participants(settings, people)
    every = [i for i in anatomical_images(settings, labels) if i.participant in set(labels)]
    found = [image for image in every if image.fault is None]
    fitting = [image for image in found if image.suffix in settings.suffixes]
    matched = filters.match(fitting, wanted, notes)
    chosen_sessions = sessions(settings, every)
    if not matched and settings.bids_filter_file:
        there = ", ".join(sorted({i.path.name for i in found})[:SEVERAL]) or "none"
        reason = "no image of the participants matches its filters"
        raise UsageError(settings.bids_filter_file, reason, f"There are these anatomical images: {there}")
    participant_sessions: list[ParticipantSession] = []
    before, by_label = _by_participant(fitting), _by_participant(matched)
    faults, unused, failed = _faults(settings, labels, every), [], 0
    for label in labels:
        mine = by_label[label]
        chosen = [i for i in mine if not chosen_sessions or i.session in chosen_sessions]
        wrong = [f for f in faults[label] if not chosen_sessions or f.session in chosen_sessions]
        usable = [i for i in before[label] if not chosen_sessions or i.session in chosen_sessions]
        refused = _refused(label, wrong, usable, settings)
        failing = {ps.problem.path for ps in refused if ps.problem}
        unused += [fault for fault in wrong if str(fault.path) not in failing]
        failed += len(refused)
        participant_sessions += refused
        if chosen:
            participant_sessions += _noted(_participant_sessions(chosen, settings, people), wrong)
        elif mine:
            notes.append(f"sub-{label} has no such session and is left out")
        elif usable and settings.bids_filter_file:
            problem = filters.none_of(settings.bids_filter_file, label, usable)
            participant_sessions.append(ParticipantSession(label, None, None, problem=problem))
        elif not refused:
            suffixes = sorted({image.suffix for image in found if image.participant == label})
            problem = no_image(settings, label, suffixes)
            participant_sessions.append(ParticipantSession(label, None, None, problem=problem))
    participant_sessions = _of_ages(participant_sessions, people, settings, notes)
    notes += _of_names(root, unused, "more " if failed else "")
    _note_absent(settings, participant_sessions, notes)
    return Selection(sorted(participant_sessions, key=lambda ps: natural(ps.key)), notes)


def _by_participant(images: list[Image]) -> dict[str, list[Image]]:
    out = defaultdict(list)
    for image in images:
        out[image.participant].append(image)
    return out


def _faults(settings: Settings, labels: list[str], images: list[Image]) -> dict[str, list[names.Fault]]:
    """Return the images of each participant that cannot be used for their names."""
    known = _by_participant(images)
    out = {}
    for label in labels:
        found = [image.fault for image in known[label] if image.fault]
        found += names.near_misses(settings.bids_dir, label, {image.path for image in known[label]})
        out[label] = [fault for fault in found if fault.suffix in ("", *settings.suffixes)]
    return out


def _refused(
    label: str, wrong: list[names.Fault], chosen: list[Image], settings: Settings
) -> list[ParticipantSession]:
    """Return the participant-sessions that fail, because all their images have wrong names."""
    apart = settings.subject_anatomical_reference == "sessionwise"
    good = {image.session for image in chosen}
    first: dict[str | None, names.Fault] = {}
    for fault in wrong:
        session = fault.session if apart else None
        if not (chosen if session is None else session in good):
            first.setdefault(session, fault)
    return [ParticipantSession(label, session, None, problem=f.error) for session, f in first.items()]


def _noted(found: list[ParticipantSession], wrong: list[names.Fault]) -> list[ParticipantSession]:
    """Return the participant-sessions with notes on the images of their session that have wrong names."""
    out = []
    for ps in found:
        mine = [fault.note for fault in wrong if not ps.session or fault.session in (None, ps.session)]
        out.append(replace(ps, notes=[*ps.notes, *mine]))
    return out


def _of_ages(
    found: list[ParticipantSession], people: Demographics, settings: Settings, notes: list[str]
) -> list[ParticipantSession]:
    """Note whose age is not known: an infant would be taken for an adult."""
    tried = [ps for ps in found if ps.image is not None and ps.problem is None]
    lacking = [ps for ps in tried if ps.age is None and people(ps.participant, ps.session).weeks is None]
    guessed = [ps for ps in lacking if settings.population == "auto" and ps.population == DEFAULT]
    if not people.found:
        if guessed:
            notes.append(no_ages(settings.bids_dir, [ps.session for ps in guessed if ps.session]))
        return found
    for unit in (populations.YEARS, populations.WEEKS):
        if keys := [ps.key for ps in lacking if ps.age_unit == unit]:
            assumed = unit == populations.YEARS and settings.population == "auto"
            notes.append(unknown_ages(keys, len(tried), unit, assumed=assumed))
    said = {ps.key: _of_age(ps, people, settings) for ps in lacking}
    return [replace(ps, notes=[*ps.notes, said[ps.key]]) if said.get(ps.key) else ps for ps in found]


def _of_age(ps: ParticipantSession, people: Demographics, settings: Settings) -> str:
    """Return the note on the age of a participant-session that is not known; empty if one has been made."""
    person = people(ps.participant, ps.session)
    if person.age is not None and ps.age_unit == populations.WEEKS:
        return f"The age of {person.age:g} years is no gestational age (weeks) and is not used."
    taken = settings.population == "auto" and ps.population == DEFAULT
    if taken and unused(person):
        return ""
    guess = f": taken as {DEFAULT} (see --population)." if taken else "."
    return f"There is no readable age in the dataset's tables{guess}"


def _of_names(root: Path, unused: list[names.Fault], more: str) -> list[str]:
    """Return notes on images and folders that are not used for their names, beside those that fail."""
    notes = []
    if unused:
        count = f"1 {more}image is" if len(unused) == 1 else f"{len(unused)} {more}images are"
        notes.append(f"{count} not used for the name, such as {unused[0].path.name}: {unused[0].reason}")
    if alike := names.folders(root):
        notes.append(f"No participants, for BIDS wants names like sub-01: {', '.join(alike[:SEVERAL])}")
    return notes


def spaces_of(settings: Settings, participant_session: ParticipantSession) -> tuple[str, ...]:
    """Return the output spaces of a participant-session: by default the template of its population."""
    own = populations.load(participant_session.population).template
    return settings.output_spaces if settings.output_spaces != TEMPLATES or not own else (own,)


def _participant_sessions(images: list, settings: Settings, people: Demographics) -> list[ParticipantSession]:
    """Return the participant-sessions of one participant: one for each session, or one for all."""
    apart = settings.subject_anatomical_reference == "sessionwise"
    groups = defaultdict(list)
    for image in images:
        groups[image.session if apart else None].append(image)
    return [_participant_session(session, group, settings, people) for session, group in groups.items()]


def _participant_session(
    session: str | None, group: list, settings: Settings, people: Demographics
) -> ParticipantSession:
    """Return the participant-session of these images; the reference is the first of the best contrast."""
    by_name = sorted(group, key=lambda i: (settings.suffixes.index(i.suffix), natural(i.path.name)))
    record, notes, problem = _population(by_name, settings, people)
    unbiased = settings.subject_anatomical_reference == "unbiased"
    group, weak = reference.ordered(by_name, record, every=unbiased)
    group = mp2rage.usable_first(group, notes)
    first = group[0]
    average = reference.alike(first, group, record, weak) if unbiased else []
    average = average if len(average) > 1 else []
    other_contrasts = (
        _other_contrasts(first, group, settings, notes) if settings.step("coregistration") else []
    )
    used = {image.path for image in (first, *average, *other_contrasts)}
    left_out = [image for image in group if image.path not in used]
    said = (reference.note(first, left_out, record), reference.warning(first, by_name, weak))
    notes += [text for text in said if text]
    person = people(first.participant, first.session)
    participant_session = ParticipantSession(
        participant=first.participant,
        session=session,
        image=first.path,
        choice=reference.why(first, group, weak),
        suffix=first.suffix,
        entities=first.entities,
        left_out=[image.path for image in left_out],
        averaged=[image.path for image in average],
        other_contrasts=[image.path for image in other_contrasts],
        population=record.name,
        label_table=_label_table(settings, options.record(settings, record.name)),
        age=person.age_in(record.age_unit),
        sex=person.sex,
        columns=people.session_row(first.participant, first.session),
        problem=problem,
        notes=[*notes, *([person.said] if person.said else [])],
    )
    return participant_session if problem else _checked(participant_session, settings)


def _population(
    group: list, settings: Settings, people: Demographics
) -> tuple[Population, list[str], InputError | None]:
    """Return the population of these images, notes on it, and the problem if there are no networks for it."""
    person = people(group[0].participant, group[0].session)
    image = reference.deciding(group, person)
    try:
        name, note = population_of(settings.population, people(image.participant, image.session), image.path)
    except InputError as error:
        return populations.load(DEFAULT), [], error
    record = populations.load(name)
    doubt = reference.doubt(group, person, record) if settings.population == "auto" else None
    return record, [text for text in (note, doubt) if text], None


def _label_table(settings: Settings, record: Population) -> str:
    """Return the label table of a population, or the finer one that a step asks for."""
    finer = [table for step, table in cards.finer_tables(record).items() if settings.step(step)]
    return finer[0] if finer else record.labels


def _checked(participant_session: ParticipantSession, settings: Settings) -> ParticipantSession:
    """Return the participant-session with precomputed results and notes, or the problem of its files."""
    assert participant_session.image is not None
    try:
        for path in dict.fromkeys((participant_session.image, *participant_session.averaged)):
            if datalad.absent(path):
                remedy = f"Run: {datalad.command(settings.bids_dir, [path])}"
                raise InputError(path, "its content is not on this machine", remedy)
        read: list[str] = []
        sidecars.read(participant_session.image, settings.bids_dir, read)
        labels = tuple(spaces.parse(text).label for text in settings.output_spaces)
        given = precomputed.find(
            settings.precomputed, participant_session.key, participant_session.image, labels
        )
        given = precomputed.with_correction(
            given, settings.output_dir, participant_session.key, participant_session.image
        )
        images = (participant_session.image, *participant_session.other_contrasts)
        steps = ("lesion",) if options.lesions(settings, participant_session.population, images) else ()
        terms = cards.restricted(options.record(settings, participant_session.population), *steps)
        maps, missing = precomputed.maps(settings.map_paths, settings.bids_dir, participant_session.key)
        population = participant_session.population
        missing += options.atlas_notes(settings, population, spaces_of(settings, participant_session))
        said = [*participant_session.notes, *read, *([terms] if terms else []), *given.notes, *missing]
        return replace(
            participant_session,
            precomputed=given,
            maps=maps,
            notes=[*said, *options.notes(settings, population)],
        )
    except InputError as error:
        return replace(participant_session, problem=error)


def _other_contrasts(first: Image, group: list[Image], settings: Settings, notes: list[str]) -> list[Image]:
    """The image of every other contrast that is brought to the reference: the first, best of its session."""
    out = []
    for suffix in (s for s in settings.suffixes if s in COREGISTERED and s != first.suffix):
        alike = [image for image in group if image.suffix == suffix]
        for image in sorted(alike, key=lambda image: image.session != first.session)[:1]:
            if datalad.absent(image.path):
                fetch = datalad.command(settings.bids_dir, [image.path])
                notes.append(
                    f"{image.path.name} is left alone: its content is not on this machine ({fetch})."
                )
            else:
                out.append(image)
    return out


def _note_absent(
    settings: Settings, participant_sessions: list[ParticipantSession], notes: list[str]
) -> None:
    """Note one command that fetches the missing content of several participants."""
    missing = [
        ps.image for ps in participant_sessions if ps.image and ps.problem and datalad.absent(ps.image)
    ]
    if len(missing) > 1:
        listed = datalad.command(settings.bids_dir, missing[:SEVERAL])
        more = f" and {len(missing) - SEVERAL} more" if len(missing) > SEVERAL else ""
        notes.append(f"The content of {len(missing)} images is not on this machine; run: {listed}{more}")
