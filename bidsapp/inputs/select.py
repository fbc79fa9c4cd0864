"""Selection of participants and sessions in the dataset, with the reference image and the facts of each."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...models.errors import BrainsegError, DatasetError, InputError, UsageError
from ...models.io import datalad
from ...models.population import populations
from ...models.population.populations import Population
from ...models.templates import spaces
from ..config.settings import TEMPLATES, Settings
from . import filters, options, precomputed, reference, sidecars
from .index import Image, anatomical_images
from .participants import Demographics
from .population import DEFAULT, population_of
from .precomputed import Precomputed

SEVERAL = 8
"""Number of names listed in a message."""

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
    precomputed : Precomputed
        Precomputed results.
    problem : BrainsegError or None
        Why it cannot be processed.
    notes : list of str
        Notes for the reports.
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
    precomputed: Precomputed = field(default_factory=Precomputed)
    problem: BrainsegError | None = None
    notes: list[str] = field(default_factory=list)

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
    labels = _participants(settings, people)
    found = [i for i in anatomical_images(settings, labels) if i.participant in set(labels)]
    matched = filters.match([i for i in found if i.suffix in settings.suffixes], wanted, notes)
    sessions = _sessions(settings, found)
    if not matched and settings.bids_filter_file:
        there = ", ".join(sorted({i.path.name for i in found})[:SEVERAL]) or "none"
        reason = "no image of the participants matches its filters"
        raise UsageError(settings.bids_filter_file, reason, f"There are these anatomical images: {there}")
    participant_sessions: list[ParticipantSession] = []
    by_label = defaultdict(list)
    for image in matched:
        by_label[image.participant].append(image)
    for label in labels:
        mine = by_label[label]
        chosen = [image for image in mine if not sessions or image.session in sessions]
        if mine and not chosen:
            notes.append(f"sub-{label} has no such session and is left out")
        elif not chosen:
            suffixes = sorted({image.suffix for image in found if image.participant == label})
            participant_sessions.append(
                ParticipantSession(label, None, None, problem=_no_image(settings, label, suffixes))
            )
        else:
            participant_sessions += _participant_sessions(chosen, settings, people)
    _note_absent(settings, participant_sessions, notes)
    return Selection(sorted(participant_sessions, key=lambda ps: natural(ps.key)), notes)


def check_dataset(root: Path) -> list[str]:
    """Check that ``root`` is a BIDS dataset; returns notes.

    Raises
    ------
    DatasetError
        If it does not exist or has no usable ``dataset_description.json``.
    """
    if not root.is_dir():
        what = "it is not a folder" if root.exists() else "the folder does not exist"
        raise DatasetError(root, what, "Give the folder that holds dataset_description.json")
    path = root / "dataset_description.json"
    if not path.exists():
        remedy = 'If it is a BIDS dataset, add the file: {"Name": "my study", "BIDSVersion": "1.10.0"}'
        nearby = [p.parent for p in sorted(root.glob("*/dataset_description.json"))] + [
            p for p in root.parents if (p / "dataset_description.json").exists()
        ]
        if nearby:
            remedy = f"Did you mean {nearby[0]}"
        raise DatasetError(root, "it has no dataset_description.json, so it is not a BIDS dataset", remedy)
    try:
        description = sidecars.read_object(path)
    except InputError as error:
        raise DatasetError(error.path, error.reason, error.remedy) from None
    if description.get("DatasetType", "raw") != "raw":
        return [f"The dataset says that it is of type {description['DatasetType']!r}, not raw."]
    return []


def spaces_of(settings: Settings, participant_session: ParticipantSession) -> tuple[str, ...]:
    """Return the output spaces of a participant-session: by default the template of its population."""
    own = populations.load(participant_session.population).template
    return settings.output_spaces if settings.output_spaces != TEMPLATES or not own else (own,)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key for natural sorting: run-2 before run-10.

    Examples
    --------
    >>> sorted(["run-10", "run-2", "a"], key=natural)
    ['a', 'run-2', 'run-10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part]


def _participants(settings: Settings, people: Demographics) -> list[str]:
    """Return the labels to process: those selected, or all."""
    root = settings.bids_dir
    there = {path.name.removeprefix("sub-") for path in root.glob("sub-*") if path.is_dir()}
    if not settings.participant_label:
        if not there:
            raise DatasetError(root, "it has no participants (no folder sub-...)", "Check the path")
        return sorted(there, key=natural)
    # A label in the table without a folder is a participant without images, not a typing error.
    known = there | {label for label in people.people if label}
    unknown = [label for label in settings.participant_label if label not in known]
    if unknown:
        names = ", ".join(f"sub-{label}" for label in unknown)
        remedy = f"Nearest are {', '.join(f'sub-{n}' for n in nearest(unknown, known))}" if known else ""
        reason = f"it has no participant {names} ({len(there)} are there)"
        raise UsageError(root, reason, remedy)
    return sorted(settings.participant_label, key=natural)


def nearest(wanted: list[str], known: set[str]) -> list[str]:
    """Return the existing names that are most similar to the wanted ones.

    Examples
    --------
    >>> nearest(["1"], {"01", "02", "11", "zz"})
    ['01', '11', '02']
    """
    names = sorted(known, key=natural)
    out: list[str] = []
    for name in wanted:
        alike = [n for n in names if n.lower().lstrip("0") == name.lower().lstrip("0")]
        alike += difflib.get_close_matches(name, names, n=SEVERAL, cutoff=0.5)
        out += alike or names[:SEVERAL]
    out = list(dict.fromkeys(out))
    return (out + [n for n in names if n not in out][: max(0, 3 - len(out))])[:SEVERAL]


def _sessions(settings: Settings, found: list) -> set[str]:
    """Return the selected sessions; at least one participant has each."""
    there = {image.session for image in found if image.session is not None}
    unknown = [label for label in settings.session_label if label not in there]
    if unknown:
        names = ", ".join(f"ses-{label}" for label in unknown)
        listed = ", ".join(f"ses-{n}" for n in nearest(unknown, there)) if there else "none"
        reason = f"no participant has an anatomical image in {names}"
        raise UsageError(settings.bids_dir, reason, f"Sessions there: {listed}")
    return set(settings.session_label)


def _no_image(settings: Settings, label: str, there: list[str]) -> InputError:
    folder = settings.bids_dir / f"sub-{label}"
    if not folder.is_dir():
        return InputError(
            folder, "participants.tsv lists the participant, but there is no folder", "Add the images"
        )
    remedy = "Add one under anat/, or choose other participants with --participant-label"
    if there:
        remedy = f"There are {', '.join(there)}: see --modalities and --bids-filter-file"
    wanted = ", ".join(settings.suffixes) if settings.modalities else "T1w, T2w, FLAIR, ..."
    return InputError(folder, f"the participant has no image to work on ({wanted})", remedy)


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
    group = sorted(group, key=lambda i: (settings.suffixes.index(i.suffix), natural(i.path.name)))
    record, notes, problem = _population(group, settings, people)
    group = reference.ordered(group, record)
    first = group[0]
    average = reference.alike(first, group, record)
    if settings.subject_anatomical_reference != "unbiased" or len(average) < 2:
        average = []
    other_contrasts = (
        _other_contrasts(first, group, settings, notes) if settings.step("coregistration") else []
    )
    used = {image.path for image in (first, *average, *other_contrasts)}
    left_out = [image for image in group if image.path not in used]
    if chosen := reference.note(first, left_out, record):
        notes.append(chosen)
    person = people(first.participant, first.session)
    participant_session = ParticipantSession(
        participant=first.participant,
        session=session,
        image=first.path,
        suffix=first.suffix,
        entities=first.entities,
        left_out=[image.path for image in left_out],
        averaged=[image.path for image in average],
        other_contrasts=[image.path for image in other_contrasts],
        population=record.name,
        label_table=_label_table(settings, record),
        age=person.age_in(record.age_unit),
        sex=person.sex,
        problem=problem,
        notes=notes,
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
    finer = [table for step, table in populations.finer_tables(record).items() if settings.step(step)]
    return finer[0] if finer else record.labels


def _checked(participant_session: ParticipantSession, settings: Settings) -> ParticipantSession:
    """Return the participant-session with precomputed results and notes, or the problem of its files."""
    assert participant_session.image is not None
    try:
        for path in dict.fromkeys((participant_session.image, *participant_session.averaged)):
            if datalad.absent(path):
                remedy = f"Run: {datalad.command(settings.bids_dir, [path])}"
                raise InputError(path, "its content is not on this machine", remedy)
        sidecars.read(participant_session.image, settings.bids_dir)
        labels = tuple(spaces.parse(text).label for text in settings.output_spaces)
        given = precomputed.find(
            settings.precomputed, participant_session.key, participant_session.image, labels
        )
        given = precomputed.with_correction(
            given, settings.output_dir, participant_session.key, participant_session.image
        )
        steps = ("lesion",) if settings.step("lesion") else ()
        terms = populations.restricted(populations.load(participant_session.population), *steps)
        said = [*participant_session.notes, *([terms] if terms else []), *given.notes]
        return replace(
            participant_session,
            precomputed=given,
            notes=[*said, *options.notes(settings, participant_session.population)],
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
