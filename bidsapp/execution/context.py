"""The context of a run, which its functions share."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.settings import Settings
from ..inputs.select import Selection
from .directories import Directories
from .progress import Progress
from .tracker import Tracker


@dataclass(frozen=True)
class Run:
    """What belongs to one run.

    Attributes
    ----------
    settings : Settings
        What to do.
    selection : Selection
        Participant-sessions to process.
    directories : Directories
        Where results, logs and intermediate files go.
    progress : Progress
        What the user sees.
    tracker : Tracker
        Status of each participant-session.
    """

    settings: Settings
    selection: Selection
    directories: Directories
    progress: Progress
    tracker: Tracker
