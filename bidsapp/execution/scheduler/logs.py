"""Log of a run: one file for the main process and its workers, and the messages on the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nipype

FILE = "brainseg.log"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOGGERS = ("brainseg", "nipype", "py.warnings")


class _Console(logging.StreamHandler):
    """Handler of the terminal; the run continues if it cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _File(logging.FileHandler):
    """Handler of a log file; the run continues if it cannot be written (a full disk)."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def of_run(folder: Path, verbose: int, plain: bool) -> Iterator[None]:
    """Send all messages to the log file of a run, and those for the user to the terminal.

    Parameters
    ----------
    folder : Path
        Log folder of the run.
    verbose : int
        From 1 the terminal shows everything, from 2 Nipype logs its details.
    plain : bool
        Whether the progress is plain lines, which are log messages; live lines write to the terminal.
    """
    file = _File(folder / FILE, encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT))
    console = _Console(sys.stdout)
    console.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    console.setLevel(logging.INFO)
    loggers = {name: logging.getLogger(name) for name in LOGGERS}
    before = {
        name: (list(logger.handlers), logger.level, logger.propagate) for name, logger in loggers.items()
    }
    for name, logger in loggers.items():
        logger.handlers[:] = [file]
        logger.propagate = False
        if (name == "brainseg" and plain) or verbose:
            logger.addHandler(console)
    loggers["brainseg"].setLevel(logging.DEBUG)
    _set_nipype(level(verbose))
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for name, (handlers, old, propagate) in before.items():
            loggers[name].handlers[:], loggers[name].propagate = handlers, propagate
            loggers[name].setLevel(old)
        with suppress(OSError):
            file.close()


def of_worker(path: Path, level: int, echo: bool) -> None:
    """Send the messages of a worker process to the log file.

    Parameters
    ----------
    path : Path
        The log file.
    level : int
        Level at which Nipype logs.
    echo : bool
        Whether printed text still goes to the terminal, not to the log file.
    """
    logging.raiseExceptions = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)] if echo else []
    with suppress(OSError):
        file = logging.FileHandler(path, encoding="utf-8")
        handlers.append(file)
        if not echo and file.stream is not None:
            # Below Python too: compiled libraries print on their own.
            for stream in (1, 2):
                os.dup2(file.stream.fileno(), stream)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
    logging.getLogger("nipype").handlers[:] = handlers
    _set_nipype(level)


def level(verbose: int) -> int:
    """Return the level at which Nipype logs.

    Parameters
    ----------
    verbose : int
        Count of ``--verbose``.
    """
    return logging.DEBUG if verbose > 1 else logging.INFO


def _set_nipype(level: int) -> None:
    for logger in nipype.logging.loggers.values():
        logger.setLevel(level)
