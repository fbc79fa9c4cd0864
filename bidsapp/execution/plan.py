"""Plan of a run: check the settings on this machine and select the participant-sessions."""

from __future__ import annotations

from ...models.templates import spaces
from ..config import plugin_file
from ..config.imports import resolve
from ..config.settings import Settings
from ..inputs import options, select
from ..inputs.select import Selection
from . import directories, dry_run

CHECK_COLUMN = "brainseg.bidsapp.reports.group:check_column"
"""A function that imports matplotlib, and is needed only for the level group alone."""


def selection(settings: Settings) -> Selection:
    """Return the participant-sessions to process; write nothing.

    Parameters
    ----------
    settings : Settings
        Settings of the run.

    Returns
    -------
    Selection
        Empty without the participant level.

    Raises
    ------
    BrainsegError
        If the settings or the dataset cannot be used.
    """
    directories.check(settings)
    if "participant" not in settings.analysis_level:
        return Selection([], [])
    for space in settings.output_spaces:
        spaces.find(spaces.parse(space))
    if settings.nipype_plugin_file:
        plugin_file.read(settings.nipype_plugin_file)
    selected = select.select(settings)
    selected.notes.extend(directories.of_another(settings))
    found = [ps.population for ps in selected.participant_sessions if ps.problem is None]
    options.check(settings, found)
    return selected


def show(settings: Settings, argv: list[str]) -> int:
    """Print the plan of a run (``--dry-run``).

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    argv : list of str
        Ignored; :func:`brainseg.bidsapp.execution.run.run` takes the same parameters.

    Returns
    -------
    int
        The exit code, 0.
    """
    selected = selection(settings)
    if settings.group_by and settings.analysis_level == ("group",):
        resolve(CHECK_COLUMN)(settings.output_dir, settings.bids_dir, settings.group_by)
    print(dry_run.describe(settings, selected))
    return 0
