"""Completion of the commands in a shell: ``eval "$(brainseg-bids --completion bash)"``."""

from __future__ import annotations

from collections.abc import Mapping

import shtab

from .dispatch import Command
from .parser import Parser

KINDS = {"file": shtab.FILE, "folder": shtab.DIRECTORY}


def script(parser: Parser, shell: str) -> str:
    """Return the script that completes a command.

    Parameters
    ----------
    parser : Parser
        The command.
    shell : str
        One of ``parser.SHELLS``.
    """
    _mark(parser)
    return shtab.complete(parser, shell)


def script_of_commands(prog: str, commands: Mapping[str, Command], shell: str) -> str:
    """Return the script that completes a program with commands; commands of two words are left out.

    Parameters
    ----------
    prog : str
        Name of the program.
    commands : mapping of str to Command
        Its commands by name.
    shell : str
        One of ``parser.SHELLS``.
    """
    parser = Parser(prog=prog)
    inner = parser.add_subparsers()
    for name, command in commands.items():
        if " " not in name:
            one = inner.add_parser(name, help=command.summary)
            command.add_arguments(one)
            _mark(one)
    return shtab.complete(parser, shell)


def _mark(parser: Parser) -> None:
    """Tell shtab which arguments are files, folders or one of a few words."""
    for action, values in parser.completions:
        if isinstance(values, str):
            # shtab reads this attribute, which argparse does not declare.
            action.complete = KINDS[values]  # type: ignore[attr-defined]
        else:
            action.choices = values
