"""The command ``brainseg-bids``."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...models.errors import BrainsegError, UsageError
from ..config.settings import LEVELS, Settings, build, read_toml
from . import dispatch, status
from .bids_options import parser

RUN = "brainseg.bidsapp.execution.run:run"
"""The function that carries out a run."""

SCRATCH = "brainseg.bidsapp.execution.scratch:scratch"
BEGIN = "brainseg.bidsapp.execution.scheduler.server:begin"
"""Functions that are called before that one is imported, which takes seconds."""

SHOW = "brainseg.bidsapp.execution.plan:show"
"""The function that says what a run would do (``--dry-run``); it needs few libraries."""

WRITE_JOB = "brainseg.bidsapp.jobs.write:show"
"""The function that writes the jobs of a batch system (``--write-job``)."""

MANY = (
    "participant_label",
    "session_label",
    "modalities",
    "output_spaces",
    "steps",
    "network",
    "derivatives",
)
"""Options of many values, which also take the names of folders and levels that follow them."""

NOT_IN_FILES = ("help", "version", "config_file", "completion")
"""Options that a configuration file cannot set."""


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Return the settings of the command line and of the configuration file that it names.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of this process.

    Raises
    ------
    UsageError
        If a value is not possible.
    SystemExit
        If the arguments cannot be parsed, or after ``--help`` and ``--version``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # A level after --quality-gate is not its value.
    pairs = zip(words, [*words, ""][1:], strict=True)
    words = [
        f"{word}=fail" if word == "--quality-gate" and after in LEVELS else word for word, after in pairs
    ]
    # Alone, -v is --version in BIDS Apps; with a dataset it is --verbose in most of them, and here.
    given = vars(parser().parse_intermixed_args(["--version"] if words == ["-v"] else words))
    given = _give_back({k: v for k, v in given.items() if v not in (None, [])})
    if "config_file" in given:
        given = _from_file(Path(given["config_file"])) | given
    return build(given)


def _give_back(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the names of folders and levels that an option of many values has taken.

    In ``BIDS OUT --participant-label 01 participant`` the level is the last label for argparse.
    """
    if given.get("analysis_level"):
        return given
    for name in MANY:
        words = list(given.get(name) or [])
        count = next((n for n, word in enumerate(reversed(words)) if word not in LEVELS), len(words))
        folders = [folder for folder in ("bids_dir", "output_dir") if folder not in given]
        kept = len(words) - count - len(folders)
        if count and kept > 0:
            names = dict(zip(folders, words[kept : len(words) - count], strict=True))
            return given | names | {name: words[:kept], "analysis_level": words[len(words) - count :]}
    return given


def _from_file(path: Path) -> dict[str, Any]:
    """Return the options of a configuration file, parsed by the parser of the command line."""
    reader = parser()
    known = {action.dest: action for action in reader.arguments}
    argv: list[str] = []
    out: dict[str, Any] = {}
    for name, value in read_toml(path).items():
        action = known.get(name)
        if action is None or name in NOT_IN_FILES:
            close = difflib.get_close_matches(name, known, n=3)
            hint = (
                f"Did you mean {' or '.join(close)}?" if close else "See brainseg-bids --help for the names"
            )
            raise UsageError(path, f"unknown setting {name!r}", hint)
        if not action.option_strings:
            out[name] = value
        elif name in reader.counted:
            argv += [action.option_strings[0]] * int(value)
        else:
            argv += _words(path, action, value)
    return out | {k: v for k, v in vars(reader.parse_args(argv)).items() if v not in (None, [])}


def _words(path: Path, action: argparse.Action, value: Any) -> list[str]:
    """Return one setting of a file as words of the command line."""
    flag = action.option_strings[-1]
    if isinstance(value, bool):
        if isinstance(action, argparse.BooleanOptionalAction):
            return [action.option_strings[0 if value else 1]]
        if action.nargs != 0:
            reason = f"{action.dest} needs a value, not {str(value).lower()}"
            raise UsageError(path, reason, "See brainseg-bids --help")
        return [flag] if value else []
    if isinstance(value, list):
        return [flag, *map(str, value)]
    return [f"{flag}={value}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of this process.

    Returns
    -------
    int
        The exit code.
    """
    code = _main(argv)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the disk is full or the pipe closed: Python must not try again
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    settings: Settings | None = None
    try:
        if words[:1] == ["--complete"]:
            answer = dispatch.resolve("brainseg.bidsapp.cli.completion:answer")
            print(answer(*words[1:3], lambda before: (parser(), before, [])))
            return 0
        if status.asked(words):
            return status.main(words)
        settings = parse(words)
        if settings.dry_run or settings.write_job:
            return dispatch.resolve(SHOW if settings.dry_run else WRITE_JOB)(settings, words)
        with dispatch.resolve(SCRATCH)():
            dispatch.resolve(BEGIN)(settings)
            return dispatch.resolve(RUN)(settings, words)
    except BrainsegError as error:
        if debug:
            raise
        _print_error(str(error))
        return error.exit_code
    except KeyboardInterrupt as stop:
        by = f" by {stop}" if str(stop) else ""
        again = settings.again if settings else "Run the same command again"
        _print_error(f"stopped{by}. {again} to continue.")
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug:
            raise
        _print_error(f"internal error: {type(error).__name__}: {error} (use --debug for the traceback)")
        return BrainsegError.exit_code


def _print_error(text: str) -> None:
    """Print a line on standard error, if it can still be written."""
    with suppress(OSError):
        print(f"brainseg-bids: {text}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
