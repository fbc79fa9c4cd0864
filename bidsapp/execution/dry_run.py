"""The plan of a run (``--dry-run``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ...models.data import model_files
from ...models.errors import InputError
from ...models.io import conform, outputs
from ...models.parcellation import names
from ...models.population import contrasts, labels
from ...models.templates import spaces
from ...workflows.common.resources import memory
from ..config import measured
from ..config.settings import MODALITIES, REFERENCES, STEPS, Settings
from ..inputs import options
from ..inputs.select import ParticipantSession, Selection, spaces_of
from ..status import claims, records
from ..status.sharing import ELSEWHERE
from . import directories, estimate
from .scheduler.devices import devices

FLAVORS = {"fmriprep": "fMRIPrep", "nibabies": "NiBabies", "both": "fMRIPrep and for NiBabies"}
"""Programs that find the derivatives by their names."""

FIRST = ("", "dataset", "start", "conform")
"""Where a participant-session may have ended without any finished stage, so that nothing can be resumed."""

STATES = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "running": "not finished",
    "waiting": "not begun",
}
"""Words for the states of participant-sessions."""


def describe(settings: Settings, selection: Selection) -> str:
    """Return the plan of a run as text.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    selection : Selection
        Participant-sessions to process.

    Returns
    -------
    str
        The lines of the plan.
    """
    usable = [ps.image for ps in selection.participant_sessions if ps.problem is None and ps.image]
    settings = estimate.with_threads(settings, usable)
    lines = [
        _line("Dataset", settings.bids_dir),
        _line("Output", settings.output_dir),
        _line("Levels", ", ".join(settings.analysis_level)),
        *(_line("Options", note) for note in settings.notes),
    ]
    if "participant" in settings.analysis_level:
        lines += [*_options(settings, selection), "", *_participants(settings, selection)]
        lines += _outputs(settings, selection)
    if "group" in settings.analysis_level:
        divided = any(_atlases(settings, ps) for ps in selection.participant_sessions)
        more = ["group_parcels.tsv"] if divided else []
        pages = [] if settings.no_pages else ["group.html", "index.html"]
        files = ["group_volumes.tsv", "group_quality.tsv", *more, *pages, "further tables (group_*.tsv)"]
        lines += ["", f"Group level: {', '.join(files[:-1])} and {files[-1]}"]
    return "\n".join([*lines, "", "Nothing was computed or written (--dry-run)."])


def planned(settings: Settings, participant_session: ParticipantSession) -> list[str]:
    """Return the names of the derivatives of a participant-session.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    participant_session : ParticipantSession
        The participant-session.

    Returns
    -------
    list of str
        Paths below the output folder, without the JSON files that describe another file.
    """
    assert participant_session.image is not None
    if settings.stop_after == "skullstrip":
        endings = [outputs.ending("mask")]
    else:
        named = [spaces.parse(text) for text in spaces_of(settings, participant_session)]
        endings = outputs.plan(
            participant_session.suffix,
            conditions(settings, participant_session),
            [(space.label, space.entities) for space in named],
            settings.derivatives_flavor,
            outputs.own_desc(model_files.title(settings.networks.get("segmentation", ""))),
            [name.label for name in _atlases(settings, participant_session)],
        )
    folder = "/".join([*participant_session.key.split("_"), "anat"])
    prefix = participant_session.key
    if not participant_session.averaged:
        prefix = outputs.prefix(participant_session.image.name, prefix)
    names = [f"{prefix}_{ending}" for ending in endings]
    if settings.stop_after != "skullstrip":
        names += _names_of_others(settings, participant_session)
    return [f"{folder}/{name}" for name in names]


def conditions(settings: Settings, participant_session: ParticipantSession) -> set[str]:
    """Return the conditions of outputs that hold for a participant-session.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    participant_session : ParticipantSession
        The participant-session.
    """
    record = options.record(settings, participant_session.population)
    images = _images(participant_session)
    holding = {name for name in STEPS if settings.step(name)}
    if not (record.hippocampus and participant_session.suffix in contrasts.HIPPOCAMPUS):
        holding.discard("hippocampus")
    if record.intracranial and settings.skull_strip != "skip":
        holding.add("intracranial")
    if record.own_labels:
        holding.add("own")
    atlases = [name.label for name in _atlases(settings, participant_session)]
    if atlases:
        holding.add("atlases")
    holding = holding - {"parcels"} | ({"parcels"} if record.parcellation in atlases else set())
    if settings.smooth:
        holding.add("smoothed")
    if not options.lesions(settings, participant_session.population, images):
        holding.discard("lesion")
    return holding | (
        {"feta"} if labels.numbering(participant_session.label_table, "feta") is not None else set()
    )


def label_files(settings: Settings, selection: Selection) -> set[str]:
    """Return the names of the label tables of all files that a run may write.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    selection : Selection
        Participant-sessions to process.
    """
    if settings.stop_after == "skullstrip":
        return set()
    usable = [ps for ps in selection.participant_sessions if ps.problem is None]
    return set().union(*(outputs.label_files(conditions(settings, ps)) for ps in usable))


def _images(participant_session: ParticipantSession) -> list[Path]:
    """Return the reference image, and those that are coregistered to it."""
    found = (participant_session.image, *participant_session.other_contrasts)
    return [path for path in found if path is not None]


def _names_of_others(settings: Settings, participant_session: ParticipantSession) -> list[str]:
    """Return the names of the files of averaged images and of other contrasts."""
    names = []
    for path in participant_session.averaged:
        stem = outputs.prefix(path.name, path.name)
        names.append(f"{stem}_{outputs.ending('run_transform', suffix=participant_session.suffix)}")
    for path in participant_session.other_contrasts:
        endings = outputs.plan_of_other(
            participant_session.suffix, _suffix(path), settings.derivatives_flavor
        )
        names += [f"{outputs.prefix(path.name, participant_session.key)}_{ending}" for ending in endings]
    return names


def _atlases(settings: Settings, participant_session: ParticipantSession) -> list[names.AtlasName]:
    """Return the atlases in the output spaces of a participant-session."""
    there = {spaces.parse(text).name for text in spaces_of(settings, participant_session)}
    named = options.atlases(settings, participant_session.population)
    return [name for name in map(names.parse, named) if name.template in there]


def _line(name: str, text: object) -> str:
    return f"{name:<12}{text}"


def _options(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with options, devices and resources."""
    reference = settings.subject_anatomical_reference
    usable = [ps for ps in selection.participant_sessions if ps.problem is None]
    used = dict.fromkeys(text for ps in usable for text in spaces_of(settings, ps))
    cpus = f"{settings.nprocs} CPU{'s' * (settings.nprocs != 1)} ({settings.omp_nthreads} for one step)"
    cpus += f", {settings.mem_gb:.1f} GB"
    return [
        _line("Work", settings.work_dir),
        _line("Resources", cpus),
        _line("Device", _device(settings)),
        _line("Networks", ", ".join(_networks(settings, selection)) or "none"),
        _line("Templates", f"{', '.join(used or settings.output_spaces)} ({settings.registration})"),
        *([_line("Atlases", ", ".join(settings.atlases))] if settings.atlases else []),
        *([_line("Maps", ", ".join(settings.maps))] if settings.maps else []),
        _line("Steps", _steps(settings)),
        _line("Reference", f"{reference}: {REFERENCES[reference]}"),
        _line("Names", f"for {FLAVORS[settings.derivatives_flavor]}"),
        *(_line("Precomputed", text) for text in settings.derivatives),
        _line("Images", ", ".join(settings.suffixes or MODALITIES)),
        *(_line("", note) for note in selection.notes),
        *_resources(settings, selection),
    ]


def _device(settings: Settings) -> str:
    """Return the devices that networks run on; a missing one is an error here too."""
    found = ", ".join(devices(settings))
    return found if settings.device == found else f"{found} ({settings.device})"


def _participants(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with all participant-sessions and their images."""
    rows = []
    for ps in selection.participant_sessions:
        image = _short(ps.image, settings.bids_dir) if ps.image else ""
        rows.append(f"  {ps.key}  {_action(settings, ps)}  {image}".rstrip())
        if len({ps.image, *ps.averaged, *ps.other_contrasts, *ps.left_out}) > 1:
            rows.append(f"      chosen: {ps.choice}")
        lists = {
            "averaged": ps.averaged,
            "aligned to it": ps.other_contrasts,
            "precomputed": ps.precomputed.files.values(),
            "measured": ps.maps.values(),
            "not used": ps.left_out,
        }
        for word, paths in lists.items():
            rows += [f"      {word}: {_short(path, settings.bids_dir)}" for path in paths]
        fall_away = options.left_out(settings, ps.population, _images(ps)) if ps.problem is None else []
        rows += [f"      note: {note}" for note in dict.fromkeys((*ps.notes, *fall_away))]
    failing = sum((ps.problem or _unusable(ps)) is not None for ps in selection.participant_sessions)
    of_them = f", {failing} of them would fail" if failing else ""
    return [f"{len(selection.participant_sessions)} selected{of_them}:", *rows]


def _action(settings: Settings, participant_session: ParticipantSession) -> str:
    """Return the planned action for a participant-session."""
    problem = participant_session.problem or _unusable(participant_session)
    if problem is not None:
        return f"would fail: {problem}"
    before = records.read(settings.output_dir, participant_session.key)
    state = before.get("state")
    if settings.resume_failed and state != "failed":
        return "not failed in an earlier run, skipped"
    finished = (
        records.finished(settings.output_dir, participant_session, settings.that_matter)
        if settings.resume
        else "no"
    )
    if finished == "yes":
        return "already done, skipped"
    if claims.holder(settings.output_dir, participant_session.key) is not None:
        return f"would be skipped: {ELSEWHERE}"
    if finished == "report":
        return "only the report is missing"
    if state == "done":
        why = records.why_again(settings.output_dir, participant_session, settings.that_matter)
        return f"would be processed again: {why or '--no-resume'}"
    if state not in ("failed", "running") or not settings.resume:
        return "would be processed"
    return "would run again" if str(before.get("stage") or "") in FIRST else "would resume"


@cache
def _header(path: Path) -> InputError | None:
    """Return what the header of an image says against it; voxels are not read."""
    try:
        conform.check_header(path)
    except InputError as error:
        return error
    return None


def _unusable(participant_session: ParticipantSession) -> InputError | None:
    """Return why the images of a participant-session cannot be used, by their headers; None if they can."""
    images = (participant_session.image, *participant_session.averaged)
    return next((error for path in images if path and (error := _header(path))), None)


def _steps(settings: Settings) -> str:
    """Return the enabled and the disabled steps."""
    on = [name for name in STEPS if settings.step(name)]
    off = [name for name in STEPS if not settings.step(name)]
    return ", ".join(on) + (f" (off: {', '.join(off)})" if off else "")


def _resources(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with the memory of the largest step, the number of steps at once, and disk space."""
    images = [ps.image for ps in selection.participant_sessions if ps.problem is None and ps.image]
    if not images:
        return []
    largest = max(images, key=lambda path: path.stat().st_size)
    need = memory(str(largest))
    step = max(need, key=lambda name: need[name])
    at_once = max(1, min(settings.nprocs // settings.omp_nthreads, int(settings.mem_gb / need[step])))
    work = directories.WORK_GB * min(len(images), at_once)
    base = f"beside {measured.read().base_gb:.1f} GB for the run itself"
    used = f"up to {need[step]:.1f} GB for one step ({step}, {largest.name}), {at_once} at once, {base}"
    disk = f"{directories.OUT_GB * len(images):.1f} GB for the results, {work:.1f} GB in the work folder"
    return [_line("Memory", used), _line("Space", disk)]


def _outputs(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with the files of the first participant-session."""
    participant_session = next((ps for ps in selection.participant_sessions if ps.problem is None), None)
    if participant_session is None or participant_session.image is None:
        return []
    space = directories.OUT_GB * sum(ps.problem is None for ps in selection.participant_sessions)
    return [
        "",
        f"Files of each participant-session (about {space:.1f} GB in all), for example",
        *(f"  {name}" for name in planned(settings, participant_session)),
        f"  {participant_session.key}.html",
    ]


def _networks(settings: Settings, selection: Selection) -> list[str]:
    """Return the networks that the participant-sessions use, with the size of their files."""
    steps = [name for name in STEPS if settings.step(name)]
    names: dict[str, None] = {}
    for name in sorted({ps.population for ps in selection.participant_sessions if ps.problem is None}):
        record = options.record(settings, name)
        masks = settings.stop_after == "skullstrip"
        names |= dict.fromkeys(record.masking if masks else record.used(settings.registration, steps))
    return [f"{model_files.title(name)} ({_size(name)})" for name in names]


def _size(name: str) -> str:
    """Return the size of weights in words."""
    try:
        return f"{model_files.path_of(name).stat().st_size / 1e6:.1f} MB"
    except model_files.ModelError:
        return "not installed"


def _suffix(path: Path) -> str:
    return path.name.split(".")[0].rpartition("_")[2]


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root in path.parents else str(path)
