"""Progress of a run: a live line for each participant-session on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..status import records
from ..status.records import Record
from .estimate import Stage, Stages, time_left

LOG = logging.getLogger("brainseg")
BAR = 16
"""Width of the progress bar (characters)."""

SPACE = 4
"""Lines of the terminal without live lines."""


class Progress:
    """Plain lines, for logs and without a terminal.

    Parameters
    ----------
    total : int
        Number of participant-sessions.

    Attributes
    ----------
    at_once : int
        Number of participant-sessions that are processed at the same time.
    """

    def __init__(self, total: int = 0) -> None:
        self.total, self.began = total, time.monotonic()
        self.at_once = 1
        self.states: dict[str, str] = {}
        # Replaced, never changed: another thread draws them.
        self.stages: dict[str, Stages] = {}
        self.times: list[dict[str, float]] = []
        self.entered: dict[str, list[str]] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Print and log a line."""
        LOG.info("%s", text)

    def warn(self, text: str) -> None:
        """Print and log a warning."""
        LOG.warning("%s", text)

    def started(self, key: str) -> None:
        """Show the start of a participant-session."""
        self.states[key] = "running"

    def stage(self, key: str, stage: str, stages: Sequence[str] = ()) -> None:
        """Show that a participant-session enters a stage, once, with its place among all, if it is known."""
        entered = self.entered.setdefault(key, [])
        if stage not in entered:
            entered.append(stage)
            place = f" (stage {stages.index(stage) + 1} of {len(stages)})" if stage in stages else ""
            LOG.info("%s  %s%s", key, stage, place)

    def works(self, key: str, stage: str, on: bool) -> None:
        """Note that a stage of a participant-session works, or that it waits or has ended."""
        now, stages = time.monotonic(), self.stages.get(key, ())
        if stage not in [known.name for known in stages]:
            stages = (*stages, Stage(stage))
        changed = (known.began(now) if on else known.paused(now) for known in stages if known.name == stage)
        self.stages[key] = tuple(next(changed) if known.name == stage else known for known in stages)

    def skipped(self, key: str, reason: str) -> None:
        """Show that a participant-session is skipped."""
        self.states[key] = "skipped"
        LOG.info("%s  skipped: %s", key, reason)

    def ended(self, record: Record) -> None:
        """Show that a participant-session is done or failed."""
        self._account(record)
        (LOG.error if record.fault else LOG.info)("%s", describe(record))
        if self.total > 1 and self.counts["running"] + self.counts["waiting"]:
            LOG.info("%s", ", ".join([*self.standing(), *self.left()]))

    def _account(self, record: Record) -> None:
        """Note the end of a participant-session."""
        key = record.participant_session.key
        self.states[key] = record.state
        self.stages.pop(key, None)
        self.entered.pop(key, None)
        if record.state == "done" and not record.report_only:
            self.times.append(record.seconds)

    @property
    def counts(self) -> dict[str, int]:
        """Number of participant-sessions of the run in each state."""
        states = list(self.states.values())
        found = {state: states.count(state) for state in ("done", "running", "failed")}
        return found | {"waiting": max(0, self.total - sum(found.values()))}

    def standing(self) -> list[str]:
        """Return the numbers of participant-sessions in each state as texts."""
        counts = self.counts
        texts = [f"{counts['done']} of {self.total} done"]
        return texts + [
            f"{counts[state]} {state}" for state in ("running", "failed", "waiting") if counts[state]
        ]

    def left(self) -> list[str]:
        """Return the estimated time left as a text; empty if it is not known yet."""
        running, waiting = list(self.stages.values()), self.counts["waiting"]
        if not (running or waiting):
            return []
        seconds = time_left(running, self.times, waiting, self.at_once, time.monotonic())
        return [] if seconds is None else [f"{about(seconds)} left"]


class Live(Progress):
    """Live lines on a terminal; finished participant-sessions stay above them."""

    def __init__(self, total: int = 0) -> None:
        super().__init__(total)
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.live = RichLive(
            get_renderable=self._render,
            console=self.console,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        super().say(text)
        self._print(text)

    def warn(self, text: str) -> None:
        super().warn(text)
        self._print(text, "yellow")

    def skipped(self, key: str, reason: str) -> None:
        super().skipped(key, reason)
        self._print(f"- {key}  skipped: {reason}", "dim")

    def ended(self, record: Record) -> None:
        super().ended(record)
        if self.live.is_started:
            self.live.refresh()
        failed = record.state == "failed"
        style = "red" if failed else "yellow" if record.fault else "green"
        self._print(f"{'✗' if failed else '!' if record.fault else '✓'} {describe(record)}", style)

    def _print(self, text: str, style: str = "") -> None:
        with suppress(OSError):  # the terminal may be gone; the run continues
            self.console.print(Text(text, style=style))

    def _render(self) -> RenderableType:
        now = time.monotonic()
        running = list(self.stages.items())
        room = max(1, self.console.size.height - SPACE)
        lines = Table.grid(padding=(0, 1))
        for key, stages in running[:room]:
            works = any(stage.since is not None for stage in stages)
            spinner = Spinner("dots", style="cyan") if works else Text("·", style="dim")
            if isinstance(spinner, Spinner):
                spinner.start_time = 0.0
            lines.add_row(spinner, Text(key, style="bold"), _row(stages, now))
        if len(running) > room:
            lines.add_row("", f"... and {len(running) - room} more", "")
        counts = self.counts
        foot = Table.grid(padding=(0, 1))
        foot.add_row(
            ProgressBar(total=max(1, self.total), completed=counts["done"] + counts["failed"], width=BAR),
            self._foot(now),
        )
        return Group(lines, foot)

    def _foot(self, now: float) -> Text:
        """Return the numbers of participant-sessions and the times, in one line."""
        out = Text(no_wrap=True, overflow="ellipsis")
        for text in self.standing():
            out.append(text, style="red" if "failed" in text else "")
            out.append(" · ", style="dim")
        return out.append(" · ".join([*self.left(), clock(now - self.began)]), style="dim")


def _row(stages: Stages, now: float) -> Text:
    """Return the stages of a participant-session with the time that each has worked."""
    row = Text(no_wrap=True, overflow="ellipsis")
    for stage in stages:
        row.append(
            f"{stage.name} {stage.spent(now):.0f}s  ", style="dim" if stage.since is None else "bold cyan"
        )
    if all(stage.since is None for stage in stages):
        row.append("waiting", style="dim")
    return row


def describe(record: Record) -> str:
    """Return a line on a participant-session that is done or failed.

    Parameters
    ----------
    record : Record
        Its status.

    Returns
    -------
    str
        State, durations (s) of the stages or the error.

    Examples
    --------
    >>> from ..inputs.select import ParticipantSession
    >>> seconds = {"conform": 2.2, "segmentation": 33.0}
    >>> describe(Record(ParticipantSession("01", None, None), state="done", seconds=seconds))
    'sub-01  done in 35 s (conform 2, segmentation 33)'
    """
    key = record.participant_session.key
    if record.report_only:
        return f"{key}  the report failed: {record.fault}" if record.fault else f"{key}  report written"
    if record.state == "failed":
        stopped = record.fault is not None and record.fault.kind == records.STOPPED
        return f"{key}  {'stopped' if stopped else 'failed'} at {record.stage or 'start'}: {record.fault}"
    spent = {stage: took for stage, took in record.seconds.items() if took >= 1}
    parts = f" ({', '.join(f'{stage} {took:.0f}' for stage, took in spent.items())})" if spent else ""
    line = f"{key}  done in {clock(sum(record.seconds.values()))}{parts}"
    if record.stripped:
        line += "; the image was already skull-stripped"
    return f"{line}; but the report failed: {record.fault}" if record.fault else line


def clock(seconds: float) -> str:
    """Return a duration as text.

    Parameters
    ----------
    seconds : float
        The duration (s).

    Examples
    --------
    >>> clock(35.2), clock(130), clock(7300)
    ('35 s', '2 min 10 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def about(seconds: float) -> str:
    """Return a rough duration as text.

    Parameters
    ----------
    seconds : float
        The duration (s).

    Examples
    --------
    >>> about(20), about(95), about(8000)
    ('less than 1 min', 'about 2 min', 'about 2 h 13 min')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return "less than 1 min"
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"


def choose(total: int, plain: bool) -> Progress:
    """Return live lines on a terminal, plain lines elsewhere or if ``plain``.

    Parameters
    ----------
    total : int
        Number of participant-sessions.
    plain : bool
        Whether to print plain lines on a terminal too.
    """
    return Progress(total) if plain or not sys.stdout.isatty() else Live(total)
