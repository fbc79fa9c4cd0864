"""Folders of a run for results, logs and intermediate files, and their checks."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...interfaces.io import dataset
from ...models.errors import FullDiskError, InputError, UsageError
from .. import __version__
from ..config.settings import Settings
from ..inputs import names, sidecars
from ..status import cleanup, inputs, records
from ..status.failures import FULL

NAME = "brainseg-bids"
OUT_GB, WORK_GB = 0.1, 0.6
"""Space (GB) that one participant-session needs in the output folder,
and in the work folder while it is computed."""


ENOUGH = 20
"""Images that are compared at most to know a dataset again."""


def distinct(inputs: Iterable[str | Path | None], outputs: Iterable[str | Path | None]) -> None:
    """Check that no output is an input and that no output is named twice.

    Parameters
    ----------
    inputs, outputs : iterable of path-like or None
        The files; None is ignored.

    Raises
    ------
    UsageError
        If a path is used twice.
    """
    taken = {Path(path).resolve() for path in inputs if path}
    named: set[Path] = set()
    for path in (given for given in outputs if given):
        place = Path(path).resolve()
        if place in taken:
            raise UsageError(path, "the output is the input itself", "Give another name")
        if place in named:
            raise UsageError(path, "two outputs have this name", "Give each another name")
        named.add(place)


@dataclass(frozen=True)
class Directories:
    """Folders of a run.

    Attributes
    ----------
    out : Path
        The derivatives' root.
    log : Path
        This run's log, settings and crash files.
    work : Path
        Intermediate files; the same for every run of this version into ``out``.
    run : str
        Identifier of the run, unique even within one job array.
    notes : tuple of str
        Why the work folder is not the one that was asked for.
    """

    out: Path
    log: Path
    work: Path
    run: str
    notes: tuple[str, ...] = ()


def check(settings: Settings) -> None:
    """Check that the folders do not lie within each other; write nothing.

    Parameters
    ----------
    settings : Settings
        Settings of the run.

    Raises
    ------
    UsageError
        If the output folder lies in the dataset, or the work folder in the dataset or the output folder.
    """
    bids, out, work = (p.resolve() for p in (settings.bids_dir, settings.output_dir, settings.work_dir))
    aside = bids.parent / f"{bids.name}-derivatives"
    if out == bids:
        raise UsageError(out, "the output folder is the dataset itself", f"Give another one, such as {aside}")
    if bids in out.parents and bids / "derivatives" not in out.parents:
        remedy = f"Give {aside}, or a folder below {bids / 'derivatives'}"
        raise UsageError(out, "the output folder lies inside the dataset", remedy)
    _check_owner(settings)
    if "participant" not in settings.analysis_level:
        return
    remedy = "Give another one with --work-dir, such as a folder on a local disk"
    if work == bids or bids in work.parents:
        raise UsageError(work, "the work folder lies inside the dataset", remedy)
    if work == out or out in work.parents:
        raise UsageError(work, "the work folder lies inside the output folder", remedy)
    if settings.dry_run and not settings.write_job:
        _try_work(settings, keep=False)


def prepare(settings: Settings) -> Directories:
    """Create the folders of a run.

    Parameters
    ----------
    settings : Settings
        Settings of the run.

    Returns
    -------
    Directories
        The folders.

    Raises
    ------
    UsageError
        If a folder cannot be written, or the output folder holds another dataset.
    FullDiskError
        If a disk is full.
    """
    out = settings.output_dir
    if "participant" in settings.analysis_level and not settings.boilerplate_only:
        _try_work(settings, keep=True)
    _writable(out, "output folder")
    _check_owner(settings)
    cleanup.sweep_old(out)
    run = f"{time.strftime('%Y%m%d-%H%M%S')}_{uuid.uuid4().hex[:8]}"
    log = out / "logs" / run
    _writable(log, "log folder")
    # Named after user and output folder, so that runs into different folders do not share a work folder.
    digest = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:8]
    work, notes = _work_folder(settings.work_dir, out)
    return Directories(out, log, work / f"brainseg_{__version__}_{os.getuid()}_{digest}", run, notes)


def _work_folder(wanted: Path, out: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the work folder, or another one where it cannot be used, and why.

    A folder of another user has a neighbor with the number of this user in its name. The default, a folder in
    the current one, is replaced by a hidden folder in the output folder if it cannot be written or is too
    small, as in a container.
    """
    if _can_be_written(wanted):
        if wanted != Path("work").resolve() or _free(wanted) >= WORK_GB * 1e9:
            return wanted, ()
        why = "the current folder has too little space"
    elif wanted != Path("work").resolve():
        own = wanted.with_name(f"{wanted.name}-{os.getuid()}")
        if wanted.is_dir() and wanted.stat().st_uid != os.getuid() and _can_be_written(own):
            return own, (f"The work folder is {own}: {wanted} belongs to another user.",)
        return wanted, ()
    else:
        why = "the current folder cannot be written"
    other = out / f".brainseg-work-{os.getuid()}"
    return other, (f"The work folder is {other}: {why} (choose another one with --work-dir).",)


def _try_work(settings: Settings, *, keep: bool) -> None:
    """Check that the work folder can be written; ``keep`` it, or remove the folders that this made.

    One in the output folder, in place of the default, is left to :func:`prepare_work`.
    """
    work, _ = _work_folder(settings.work_dir, settings.output_dir)
    if settings.output_dir in work.parents:
        return
    made = [path for path in (work, *work.parents) if not path.exists()]
    try:
        _writable(work, "work folder")
    finally:
        for path in () if keep else made:
            with suppress(OSError):
                path.rmdir()


def _can_be_written(path: Path) -> bool:
    """Return whether a folder can be written, or made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def prepare_work(directories: Directories, count: int, at_once: int) -> list[str]:
    """Create the work folder and check its free space.

    Parameters
    ----------
    directories : Directories
        Folders of the run.
    count : int
        Number of participant-sessions to process.
    at_once : int
        Number of participant-sessions processed in parallel.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    FullDiskError
        If the space is too small for one participant-session.
    """
    _writable(directories.work, "work folder")
    notes = []
    for path, each, number in (
        (directories.out, OUT_GB, count),
        (directories.work, WORK_GB, min(count, at_once)),
    ):
        free = _free(path) / 1e9
        if free < each:
            free_mb, each_mb = round(free * 1000), round(each * 1000)
            reason = f"only {free_mb} MB are free, but one participant needs about {each_mb} MB"
            raise FullDiskError(path, reason, "Free disk space or give another folder")
        if free < each * number:
            needed = f"about {each * number:.1f} GB for {number} participants"
            notes.append(f"{path}: {free:.1f} GB are free, {needed} may be needed")
    return notes


def clean_work(directories: Directories, name: str | None = None) -> None:
    """Remove the work folder of one workflow, or the whole folder if it holds no workflow.

    Parameters
    ----------
    directories : Directories
        Folders of the run.
    name : str, optional
        Name of the workflow.
    """
    if name:
        shutil.rmtree(directories.work / "brainseg_wf" / name, ignore_errors=True)
        return
    for folder in (directories.work / "brainseg_wf", directories.work, directories.work.parent):
        with suppress(OSError):
            folder.rmdir()


def _free(path: Path) -> int:
    """Return the free bytes of a folder, or of its parent if another process has removed it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _writable(path: Path, what: str) -> None:
    probe = path / f".brainseg-{uuid.uuid4().hex[:8]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_text("probe\n")
    except FileExistsError:
        raise UsageError(path, f"the {what} is a file", "Give a folder") from None
    except OSError as error:
        reason = f"the {what} cannot be written ({error.strerror})"
        if error.errno in FULL:
            raise FullDiskError(path, reason, "Free disk space or give another folder") from None
        raise UsageError(path, reason, "Give another one, or correct its permissions") from None
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _check_owner(settings: Settings) -> None:
    """Check that the output folder does not hold another dataset, or the results of another one.

    Participants of two datasets may have the same labels. A dataset that was moved keeps its name or files.
    """
    out = settings.output_dir
    path = out / "dataset_description.json"
    if not path.exists():
        return
    try:
        content = sidecars.read_object(path)
    except InputError as error:
        raise UsageError(error.path, error.reason, error.remedy) from None
    makers = content.get("GeneratedBy", [])
    named = (
        [maker.get("Name") for maker in makers if isinstance(maker, dict)] if isinstance(makers, list) else []
    )
    if NAME not in named:
        raise UsageError(out, "the output folder holds another dataset", "Give a new folder")
    if (before := _other(settings)) is None:
        return
    own: dict[str, Any] = {}
    with suppress(InputError):  # select says what is wrong with it
        own = sidecars.read_object(settings.bids_dir / path.name)
    now = dataset.description(out, settings.bids_dir, __version__)
    renamed = own.get("Name") and str(content.get("Name")).removesuffix(dataset.SLOPPY_NAME) != now["Name"]
    alike, same = _shared(out, settings.bids_dir)
    if not same and (renamed or alike):
        reason = f"the output folder holds the results of another dataset ({before})"
        remedy = "Give a new folder, so that participants with the same label are not mixed up"
        raise UsageError(out, reason, remedy)


def of_another(settings: Settings) -> list[str]:
    """Return a warning if the output folder has results of a dataset elsewhere, and of none of these images.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """
    before = _other(settings)
    known = any(records.folder(settings.output_dir).glob("*.json"))
    if before is None or not known or _shared(settings.output_dir, settings.bids_dir)[1]:
        return []
    return [
        f"The output folder has the results of another dataset ({before}), with none of the images of this "
        "one: if these are two studies, give a new folder, or the tables of the group level will mix them."
    ]


def _other(settings: Settings) -> str | None:
    """Return the link to the dataset whose results the output folder has; None if it is this one."""
    if "participant" not in settings.analysis_level:
        return None
    out = settings.output_dir
    try:
        before = _link(sidecars.read_object(out / "dataset_description.json"))
    except InputError:
        return None
    return None if before == dataset.link_to(settings.bids_dir, out, before) else before


def _shared(out: Path, bids_dir: Path) -> tuple[int, bool]:
    """Return the number of images in the dataset that have the name of one with results, and if one is it."""
    there, alike = set(names.participants(bids_dir)), 0
    for path in sorted(records.folder(out).glob("*.json")):
        label = path.stem.partition("_ses-")[0].removeprefix("sub-")
        before = records.read(out, path.stem).get("inputs") if label in there else None
        if not isinstance(before, dict) or before.get("size") is None:
            continue
        image = bids_dir / inputs.place(str(before.get("path") or ""), label)
        if inputs.same(before, image, label):
            return alike + 1, True
        alike += image.is_file()
        if alike == ENOUGH:
            break
    return alike, False


def has_results_of(out: Path, bids_dir: Path) -> bool:
    """Return whether the results in an output folder are those of a dataset, by its path."""
    try:
        content = sidecars.read_object(out / "dataset_description.json")
    except InputError:
        return False
    return _link(content) == dataset.link_to(bids_dir, out, _link(content))


def _link(content: dict[str, Any]) -> str | None:
    """Return the link to the dataset in the description of its derivatives."""
    links = content.get("DatasetLinks")
    return links.get("raw") if isinstance(links, dict) else None
