"""The command ``brainseg``: single files without BIDS, training, and networks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ...models.errors import BrainsegError, UsageError
from .. import __version__
from . import dispatch, single_files, training
from .dispatch import Command
from .parser import SHELLS, HelpFormatter, Parser

COMMANDS: dict[str, Command] = {
    **single_files.COMMANDS,
    **training.COMMANDS,
    **single_files.CHECK_DERIVATIVES,
}
"""All commands by name, in the order of the help."""


def usage() -> str:
    """Return the list of all commands."""
    calls = {f"brainseg {name} {command.usage}": command.summary for name, command in COMMANDS.items()}
    width = max(map(len, calls))
    return "\n".join(
        [
            "usage: brainseg COMMAND ...",
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
            script_of_commands = dispatch.resolve("brainseg.bidsapp.cli.completion:script_of_commands")
            print(script_of_commands("brainseg", COMMANDS, words[1]))
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
    if name not in COMMANDS:
        known = f"Commands are {', '.join(COMMANDS)}; see brainseg --help"
        raise UsageError(None, f"unknown command {name!r}", known)
    command = COMMANDS[name]
    parser = Parser(
        prog=f"brainseg {name}",
        description=command.description,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return command.resolve()(parser.parse_intermixed_args(words))


if __name__ == "__main__":
    raise SystemExit(main())
