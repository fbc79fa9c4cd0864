"""The plan of a run (``--dry-run``)."""

from __future__ import annotations

from pathlib import Path

from ...models.data import FOLDER
from ...models.io import outputs
from ...models.population import contrasts, labels, populations
from ...models.templates import spaces
from ...workflows.common.resources import memory
from ..config.settings import MODALITIES, REFERENCES, STEPS, Settings
from ..inputs.select import Selection, Unit
from ..status import records
from . import directories
from .scheduler.devices import devices
from .workflow import spaces_of

FLAVORS = {"fmriprep": "fMRIPrep", "nibabies": "NiBabies", "both": "fMRIPrep and for NiBabies"}
"""Programs that the names of the derivatives are for."""

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
    """
    lines = [
        _line("Dataset", settings.bids_dir),
        _line("Output", settings.output_dir),
        _line("Levels", ", ".join(settings.analysis_level)),
    ]
    if "participant" in settings.analysis_level:
        lines += [*_options(settings, selection), "", *_participants(settings, selection), ""]
        lines += _outputs(settings, selection)
    if "group" in settings.analysis_level:
        lines += ["", "Group level: group_volumes.tsv, group.html and index.html"]
    return "\n".join([*lines, "", "Nothing was computed or written (--dry-run)."])


def planned(settings: Settings, unit: Unit) -> list[str]:
    """Return the derivatives that a participant-session gets.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    unit : Unit
        The participant-session.

    Returns
    -------
    list of str
        Paths below the output folder, without the JSON files that describe another file.
    """
    assert unit.image is not None
    if settings.stop_after == "skullstrip":
        endings = [outputs.ending("mask")]
    else:
        named = [spaces.parse(text) for text in spaces_of(settings, unit)]
        endings = outputs.plan(
            unit.suffix,
            _conditions(settings, unit),
            [(space.label, space.entities) for space in named],
            settings.derivatives_flavor,
        )
    folder = "/".join([*unit.key.split("_"), "anat"])
    prefix = unit.key if unit.averaged else outputs.prefix(unit.image.name, unit.key)
    names = [f"{prefix}_{ending}" for ending in endings]
    if settings.stop_after != "skullstrip":
        names += _names_of_others(settings, unit)
    return [f"{folder}/{name}" for name in names]


def _names_of_others(settings: Settings, unit: Unit) -> list[str]:
    """Return the names of the files of averaged images and of other contrasts."""
    names = []
    for path in unit.averaged:
        stem = outputs.prefix(path.name, path.name)
        names.append(f"{stem}_{outputs.ending('run_transform', suffix=unit.suffix)}")
    for path in unit.beside:
        endings = outputs.plan_of_other(unit.suffix, _suffix(path), settings.derivatives_flavor)
        names += [f"{outputs.prefix(path.name, unit.key)}_{ending}" for ending in endings]
    return names


def _conditions(settings: Settings, unit: Unit) -> set[str]:
    """Return the conditions of outputs that hold for a participant-session."""
    assert unit.image is not None
    record = populations.load(unit.population)
    suffixes = {_suffix(path) for path in (unit.image, *unit.beside)}
    holding = {name for name in STEPS if settings.step(name)}
    if not (record.hippocampus and unit.suffix in contrasts.HIPPOCAMPUS):
        holding.discard("hippocampus")
    if not (record.lesion and suffixes & set(contrasts.LESION)):
        holding.discard("lesion")
    return holding | ({"feta"} if labels.numbering(unit.label_table, "feta") is not None else set())


def _line(name: str, text: object) -> str:
    return f"{name:<12}{text}"


def _options(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with options, devices and resources."""
    reference = settings.subject_anatomical_reference
    cpus = f"{settings.nprocs} CPUs ({settings.omp_nthreads} for one step), {settings.mem_gb:.1f} GB"
    return [
        _line("Work", settings.work_dir),
        _line("Resources", cpus),
        _line("Device", _device(settings)),
        _line("Networks", ", ".join(_networks()) or "none installed"),
        _line("Templates", f"{', '.join(settings.output_spaces)} ({settings.registration})"),
        _line("Steps", _steps(settings)),
        _line("Reference", f"{reference}: {REFERENCES[reference]}"),
        _line("Names", f"for {FLAVORS[settings.derivatives_flavor]}"),
        *(_line("Precomputed", text) for text in settings.derivatives),
        *([_line("Sloppy", "fast and coarse; the results are marked")] if settings.sloppy else []),
        _line("Images", ", ".join(settings.suffixes or MODALITIES)),
        *(_line("", note) for note in selection.notes),
        *_resources(settings, selection),
    ]


def _device(settings: Settings) -> str:
    """Return the devices that networks run on; a missing one is an error here too."""
    found = ", ".join(devices(settings))
    return found if settings.device == found else f"{found} ({settings.device})"


def _participants(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with every participant-session and its images."""
    rows = []
    for unit in selection.units:
        image = _short(unit.image, settings.bids_dir) if unit.image else ""
        rows.append(f"  {unit.key}  {_action(settings, unit)}  {image}")
        lists = {
            "averaged": unit.averaged,
            "aligned to it": unit.beside,
            "precomputed": unit.precomputed.files.values(),
            "not used": unit.others,
        }
        for word, paths in lists.items():
            rows += [f"      {word}: {_short(path, settings.bids_dir)}" for path in paths]
        rows += [f"      note: {note}" for note in unit.notes]
    return [f"{len(selection.units)} selected:", *rows]


def _action(settings: Settings, unit: Unit) -> str:
    """Return in words what the run would do with a participant-session."""
    if unit.problem is not None:
        return f"would fail: {unit.problem}"
    before = records.read(settings.output_dir, unit.key).get("state")
    if settings.resume_failed and before != "failed":
        return "not failed in an earlier run, skipped"
    finished = records.finished(settings.output_dir, unit, settings.that_matter) if settings.resume else "no"
    if finished == "yes":
        return "already done, skipped"
    if finished == "report":
        return "only the report is missing"
    return "would resume" if before in ("failed", "running") and settings.resume else "would be processed"


def _steps(settings: Settings) -> str:
    """Return the steps that are on, and those that are off."""
    on = [name for name in STEPS if settings.step(name)]
    off = [name for name in STEPS if not settings.step(name)]
    return ", ".join(on) + (f" (off: {', '.join(off)})" if off else "")


def _resources(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with the memory of the largest step, the number of steps at once, and disk space."""
    images = [unit.image for unit in selection.units if unit.problem is None and unit.image]
    if not images:
        return []
    largest = max(images, key=lambda path: path.stat().st_size)
    need = memory(str(largest))
    step = max(need, key=lambda name: need[name])
    at_once = max(1, min(settings.nprocs // settings.omp_nthreads, int(settings.mem_gb / need[step])))
    work = directories.WORK_GB * min(len(images), at_once)
    used = f"up to {need[step]:.1f} GB for one step ({step}, {largest.name}); {at_once} at once"
    disk = f"{directories.OUT_GB * len(images):.1f} GB for the results, {work:.1f} GB in the work folder"
    return [_line("Memory", used), _line("Space", disk)]


def _outputs(settings: Settings, selection: Selection) -> list[str]:
    """Return lines with the files of the first participant-session."""
    unit = next((unit for unit in selection.units if unit.problem is None), None)
    if unit is None or unit.image is None:
        return []
    space = directories.OUT_GB * len(selection.units)
    return [
        f"Files of each participant-session (about {space:.1f} GB in all), for example",
        *(f"  {name}" for name in planned(settings, unit)),
        f"  {unit.key}.html",
    ]


def _networks() -> list[str]:
    paths = sorted((FOLDER / "weights").glob("*.safetensors"))
    return [f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB)" for path in paths]


def _suffix(path: Path) -> str:
    return path.name.split(".")[0].rpartition("_")[2]


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root in path.parents else str(path)
