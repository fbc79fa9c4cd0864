"""Context of a run, shared by its functions."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.settings import Settings
from ..inputs.select import Selection
from .directories import Directories
from .progress import Progress
from .tracker import Tracker


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
