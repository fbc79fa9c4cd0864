"""Memory and time of participant-sessions, and the time that a run still needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...workflows.common.resources import memory
from ..config import measured
from ..config.resources import shared_threads
from ..config.settings import Settings

SHARES = measured.read().shares
"""Shares of the stages in the time of a participant-session."""

ENOUGH = 0.1
"""Share of the stages that must be done before the first estimate."""


@dataclass(frozen=True)
class Memory:
    """Memory that one participant-session needs.

    Attributes
    ----------
    gb : float
        In GB, with that of the main process.
    step : str
        The step that needs most.
    image : Path
        The image.
    """

    gb: float
    step: str
    image: Path

    @property
    def short(self) -> str:
        """In words."""
        return f"{self.image.name} needs about {self.gb:.1f} GB of memory (for {self.step})"


def needed(images: Collection[Path]) -> Memory | None:
    """Return the memory for the largest of some images, by the size of their files; None without images.

    Parameters
    ----------
    images : collection of Path
        The images.
    """
    sizes = {path: path.stat().st_size for path in images if path.is_file()}
    if not sizes:
        return None
    largest = max(sizes, key=lambda path: sizes[path])
    steps = memory(str(largest))
    step = max(steps, key=lambda name: steps[name])
    return Memory(round(steps[step] + measured.read().base_gb, 2), step, largest)


def with_threads(settings: Settings, images: Collection[Path]) -> Settings:
    """Return the settings with the threads of one step, unless the user gave their number.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    images : collection of Path
        The reference images of the participant-sessions to process.
    """
    need = needed(images)
    if "omp_nthreads" in settings.given or need is None or settings.plugin == "linear":
        return settings  # linear: one step at a time has all of them
    slots, most = max(1, int(settings.mem_gb / need.gb)), settings.omp_nthreads
    threads = shared_threads(settings.nprocs, most, len(images), slots)
    return replace(settings, omp_nthreads=threads)


def why_killed(before: Mapping[str, Any], image: Path | None) -> str:
    """Return the likely reason why a run was killed, in words.

    Parameters
    ----------
    before : mapping
        The status that it left.
    image : Path or None
        The image that it processed.
    """
    need, had = needed([image] if image else []), before.get("memory_gb")
    if need and isinstance(had, (int, float)) and need.gb > had:
        return f"Memory is the likely reason: it had {had:.1f} GB, and {need.short}."
    return "If nobody stopped it and no time limit was reached, give it more memory."


@dataclass(frozen=True)
class Stage:
    """One stage of a running participant-session.

    Attributes
    ----------
    name : str
        Its name.
    seconds : float
        Time that it worked, without the present stretch.
    since : float or None
        Start of the present stretch of work; None while it waits, and after it.
    """

    name: str
    seconds: float = 0.0
    since: float | None = None

    def spent(self, now: float) -> float:
        """Return the time (s) that it has worked; waiting is not work."""
        return self.seconds + (max(0.0, now - self.since) if self.since is not None else 0.0)

    def began(self, now: float) -> Stage:
        """Return the stage at work."""
        return self if self.since is not None else replace(self, since=now)

    def paused(self, now: float) -> Stage:
        """Return the stage at rest."""
        return Stage(self.name, self.spent(now))


Stages = tuple[Stage, ...]
"""The stages of a participant-session so far, in the order of their begin."""


def time_left(
    running: Collection[Stages],
    done: Sequence[Mapping[str, float]],
    waiting: int,
    at_once: int,
    now: float,
) -> float | None:
    """Return the time that a run still needs, or None if nothing is known yet.

    Parameters
    ----------
    running : collection of Stages
        The participant-sessions that are processed.
    done : sequence of mapping
        Seconds by stage of those that are done.
    waiting : int
        Number of those that have not begun.
    at_once : int
        Number that are processed at the same time.
    now : float
        The time (s) on the clock of the stages.

    Returns
    -------
    float or None
        In seconds.

    Examples
    --------
    >>> time_left([], [{"bias": 10.0, "segmentation": 20.0}], waiting=4, at_once=2, now=0.0)
    60.0
    """
    typical = _typical(running, done, now)
    if typical is None:
        return None
    whole = sum(typical.values())
    rest = [_rest(stages, typical, now) for stages in running]
    # No participant-session is faster because others are done.
    longest = max([*rest, *([whole] if waiting else [])], default=0.0)
    return max(longest, (sum(rest) + waiting * whole) / max(1, at_once))


def _typical(
    running: Collection[Stages], done: Sequence[Mapping[str, float]], now: float
) -> dict[str, float] | None:
    """Return the time of each stage: as measured in this run, else by the usual shares."""
    if done:
        names = dict.fromkeys(name for seconds in done for name in seconds)
        return {name: sum(seconds.get(name, 0.0) for seconds in done) / len(done) for name in names}
    ended = [stage for stages in running for stage in stages[:-1] if stage.since is None]
    share = sum(SHARES.get(stage.name, 0.0) for stage in ended)
    if share < ENOUGH:
        return None
    factor = sum(stage.spent(now) for stage in ended if stage.name in SHARES) / share
    return {name: factor * share for name, share in SHARES.items()}


def _rest(stages: Stages, typical: Mapping[str, float], now: float) -> float:
    """Return the time that a participant-session still needs."""
    ended = {stage.name for stage in stages[:-1] if stage.since is None}
    spent = {stage.name: stage.spent(now) for stage in stages}
    return sum(max(0.0, took - spent.get(name, 0.0)) for name, took in typical.items() if name not in ended)
