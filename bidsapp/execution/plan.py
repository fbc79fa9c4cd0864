"""Before a run: the settings are checked against the machine, and the dataset is searched."""

from __future__ import annotations

from ...models.templates import spaces
from ..config import plugin_file
from ..config.settings import Settings
from ..inputs import options, select
from ..inputs.select import Selection
from . import directories, dry_run


def selection(settings: Settings) -> Selection:
    """Return what is to be processed; nothing is written.

    Raises
    ------
    BrainsegError
        If the run cannot begin.
    """
    directories.check(settings)
    if "participant" not in settings.analysis_level:
        return Selection([], [])
    for space in settings.output_spaces:
        spaces.find(spaces.parse(space))
    if settings.nipype_plugin_file:
        plugin_file.read(settings.nipype_plugin_file)
    selected = select.select(settings)
    options.check(settings, [ps.population for ps in selected.participant_sessions if ps.problem is None])
    return selected


def show(settings: Settings, argv: list[str]) -> int:
    """Print what a run would do (``--dry-run``); it takes and returns what a run does."""
    print(dry_run.describe(settings, selection(settings)))
    return 0
