"""The command ``brainseg``: single files without BIDS, training, and networks."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from ...models.errors import BrainsegError, UsageError
from .. import __version__
from . import datasets, dispatch, single_files, training
from .dispatch import Command
from .parser import SHELLS, HelpFormatter, Parser

COMMANDS: dict[str, Command] = {
    **single_files.COMMANDS,
    **training.COMMANDS,
    **datasets.COMMANDS,
}
"""All commands by name, in the order of the help."""


def usage(first: str = "") -> str:
    """Return the list of all commands, or of those that begin with a word."""
    calls = {
        f"brainseg {name} {command.usage}": command.summary
        for name, command in COMMANDS.items()
        if not first or name.split()[0] == first
    }
    width = max(map(len, calls))
    return "\n".join(
        [
            f"usage: brainseg {f'{first} COMMAND' if first else 'COMMAND'} ...",
            "",
            *(f"  {call:<{width}}  {summary}" for call, summary in calls.items()),
            "",
            "Every command has its --help. brainseg --completion SHELL prints the completion script.",
            "For BIDS datasets use brainseg-bids.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of this process.

    Returns
    -------
    int
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else UsageError.exit_code
    if words[0] == "--version":
        print(f"brainseg {__version__}")
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    try:
        if words[0] == "--completion" and words[1:] and words[1] in SHELLS:
            print(dispatch.resolve("brainseg.bidsapp.cli.completion:script")("brainseg", words[1]), end="")
            return 0
        if words[0] == "--complete":
            print(dispatch.resolve("brainseg.bidsapp.cli.completion:answer")(*words[1:3], _of_line))
            return 0
        return _run(name, words[len(name.split()) :])
    except BrainsegError as error:
        print(f"brainseg {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"brainseg {name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _run(name: str, words: list[str]) -> int:
    """Run one command with its arguments."""
    if name not in COMMANDS and (further := _further(name)):
        asked = words[:1] in (["-h"], ["--help"])
        if not asked:
            reason = (
                f"no command {' '.join([name, *words[:1]])!r}" if words else "the command is not complete"
            )
            raise UsageError(None, reason, f"Commands are {', '.join(further)}")
        print(usage(name))
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Commands are {', '.join(COMMANDS)}."
        raise UsageError(None, f"unknown command {name!r}", f"{hint} See brainseg --help")
    return COMMANDS[name].resolve()(_parser(name).parse_intermixed_args(words))


def _further(name: str) -> list[str]:
    """Return the commands of two words that begin with this one."""
    return [other for other in COMMANDS if other.startswith(f"{name} ")]


def _parser(name: str) -> Parser:
    """Return the parser of a command."""
    command, further = COMMANDS[name], _further(name)
    parser = Parser(
        prog=f"brainseg {name}",
        description=command.description,
        epilog=f"See also {', '.join(f'brainseg {other}' for other in further)}." if further else None,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def _of_line(words: list[str]) -> tuple[Parser, list[str], list[str]]:
    """Return the parser of the command on a line, its arguments, and the commands that may follow."""
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else " ".join(words[:1])
    below = [other.split()[1] for other in _further(name)] if len(words) == 1 else []
    if name not in COMMANDS:
        first = list(dict.fromkeys(other.split()[0] for other in COMMANDS))
        return Parser(prog="brainseg", add_help=False), [], below if words else first
    return _parser(name), words[len(name.split()) :], below


if __name__ == "__main__":
    raise SystemExit(main())
