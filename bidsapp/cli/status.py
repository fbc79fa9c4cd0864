"""``brainseg-bids OUT status``: arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..config.settings import LEVELS
from . import dispatch
from .parser import HelpFormatter, Parser

WORD = "status"
TARGET = "brainseg.bidsapp.jobs.status:show"


def asked(words: Sequence[str]) -> bool:
    """Return whether a command line asks for the state of a study.

    Examples
    --------
    >>> asked(["out", "status", "--tsv"]), asked(["status", "out"]), asked(["bids", "status", "participant"])
    (True, True, False)
    """
    names = [word for word in words if not word.startswith("-")]
    return WORD in names[:2] and not set(names) & set(LEVELS)


def parser() -> Parser:
    """Return the parser."""
    out = Parser(
        prog="brainseg-bids OUT status",
        usage="brainseg-bids OUT status [--tsv | --json]",
        description="Who is done, has failed, was stopped or killed, is running, and has never begun.",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    out.add_argument("names", nargs=2, metavar="OUT status", help=argparse.SUPPRESS)
    out.add_argument("--tsv", action="store_true", help="print a table with tabs, one line for each")
    out.add_argument("--json", action="store_true", help="print JSON")
    return out


def main(words: Sequence[str]) -> int:
    """Print the state of a study and return the exit code."""
    given = parser().parse_args(list(words))
    names = list(given.names)
    names.remove(WORD)
    form = "json" if given.json else "tsv" if given.tsv else "table"
    return dispatch.resolve(TARGET)(Path(names[0]).expanduser().resolve(), form)
