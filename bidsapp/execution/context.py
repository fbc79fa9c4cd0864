"""Context of a run, shared by its functions, and its exit codes."""

from __future__ import annotations

from dataclasses import dataclass

from ...models.errors import ReportError
from ..config.settings import Settings
from ..inputs.select import Selection
from .directories import Directories
from .progress import Progress
from .tracker import Tracker

OK, FAILED, REPORT_FAILED = 0, 1, ReportError.exit_code
BUSY = 75
"""Exit code if other processes are at work on all that is left to do."""


@dataclass(frozen=True)
class Run:
    """Context of one run.

    Attributes
    ----------
    settings : Settings
        Settings of the run.
    selection : Selection
        Participant-sessions to process.
    directories : Directories
        Folders of results, logs and intermediate files.
    progress : Progress
        Messages to the user.
    tracker : Tracker
        Status of each participant-session.
    """

    settings: Settings
    selection: Selection
    directories: Directories
    progress: Progress
    tracker: Tracker
