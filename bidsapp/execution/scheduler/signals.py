"""Stop a run on SIGTERM (from Slurm or ``docker stop``) as on Ctrl-C, once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GRACE = 10.0
"""Seconds for which further signals are ignored: they would tear the end of the run apart."""

_received: list[tuple[float, KeyboardInterrupt]] = []


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


def received() -> KeyboardInterrupt | None:
    """Return the request to stop that has arrived within :func:`stopping`; None without one."""
    return _received[-1][1] if _received else None


@contextmanager
def stopping() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM and ``KeyboardInterrupt`` on Ctrl-C, for the first signal only.

    Further ones count again after ``GRACE`` seconds, in case the end hangs. An ignored SIGINT stays ignored.
    """

    def stop(number: int, frame: Any) -> None:
        now = time.monotonic()
        if _received and now - _received[-1][0] < GRACE:
            return
        by_user = number == signal.SIGINT
        error = KeyboardInterrupt() if by_user else Stopped(signal.Signals(number).name, number)
        _received.append((now, error))
        raise error

    _received.clear()
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    try:
        before = {number: signal.signal(number, stop) for number in numbers}
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()
