"""Stop a run on SIGTERM (from Slurm or ``docker stop``) as on Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(KeyboardInterrupt):
    """The system requested the run to stop.

    Parameters
    ----------
    name, number : str, int
        The signal.
    """

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name)
        self.exit_code = 128 + number


@contextmanager
def stopping() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped(signal.Signals(number).name, number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
