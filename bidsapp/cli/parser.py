"""The parser of all commands: mistakes in one line, arguments by section, and what a shell completes."""

from __future__ import annotations

import argparse
import difflib
import functools
import shutil
import sys
from collections.abc import Callable
from typing import Any, NoReturn

SHELLS = ("bash", "zsh", "fish", "tcsh")
"""Shells that the commands write completion scripts for."""

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Devices that the networks run on; a GPU of several is named as ``cuda:N``."""

INHERITED = ("action", "choices", "const", "metavar", "nargs", "type")
"""What a former name of an option takes over from the option."""


class HelpFormatter(argparse.HelpFormatter):
    """Formatter with room for an option and its help in one line."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size((118, 24)).columns
        super().__init__(prog, max_help_position=34, width=min(118, max(80, columns)))


class Noted(argparse.Action):
    """Option of other programs with a note for the user.

    Parameters
    ----------
    note : str
        What the option means here.
    sets : tuple of (str, object), optional
        Name of a value, and the value that the option gives it.
    """

    def __init__(self, *args: Any, note: str, sets: tuple[str, object] | None = None, **options: Any) -> None:
        self.note, self.sets = note, sets
        super().__init__(*args, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        """Store the note, and the value."""
        namespace.notes = (*getattr(namespace, "notes", ()), f"{option_string}: {self.note}")
        if self.sets:
            setattr(namespace, *self.sets)


class Parser(argparse.ArgumentParser):
    """Parser that reports a mistake in one line and suggests the option that was meant.

    Attributes
    ----------
    sections : dict of str to list of Action
        Arguments by the title of their section, in the order of the help; the title is empty for those
        without a section.
    counted : set of str
        Names of the values that count how often an option is given.
    completions : list of tuple
        Arguments and what a shell completes them with: a tuple of words, or a name in
        ``completion.SOURCES``.
    former : dict of str to str
        Former names of options, which are accepted and not shown, and the present names.
    elsewhere : dict of str to str
        Names of options in other BIDS Apps, which are accepted and not shown, and the names here; empty for
        options that mean nothing here.
    examples : str
        Commands at the end of the help.
    """

    examples = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.sections: dict[str, list[argparse.Action]] = {}
        self.counted: set[str] = set()
        self.completions: list[tuple[argparse.Action, str | tuple[str, ...]]] = []
        self.former: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        self._options: dict[str, tuple[str, dict[str, Any]]] = {}
        super().__init__(*args, **options)

    def format_help(self) -> str:
        """Return the help, with the examples."""
        return super().format_help() + (f"\nexamples:\n{self.examples}" if self.examples else "")

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Add an argument outside of the sections; see :meth:`section` for the options."""
        return self._add(super().add_argument, "", *names, **options)

    def section(self, title: str) -> Callable[..., argparse.Action]:
        """Start a section of the help.

        Returns
        -------
        callable
            It adds an argument to the section. It takes what ``ArgumentParser.add_argument`` takes and
            ``complete`` (what a shell completes it with, see ``completions``) and ``former`` (former names of
            the option).
        """
        return functools.partial(self._add, self.add_argument_group(title).add_argument, title)

    def _add(
        self,
        add: Callable[..., argparse.Action],
        title: str,
        *names: str,
        complete: str | tuple[str, ...] = "",
        former: tuple[str, ...] = (),
        **options: Any,
    ) -> argparse.Action:
        action = add(*names, **options)
        self.sections.setdefault(title, []).append(action)
        if options.get("action") == "count":
            self.counted.add(action.dest)
        if complete:
            self.completions.append((action, complete))
        self._options[(action.option_strings or [action.dest])[-1]] = action.dest, options
        for name in former:
            self._hide(name, action.option_strings[-1])
            self.former[name] = action.option_strings[-1]
        return action

    def _hide(self, name: str, present: str, **options: Any) -> None:
        """Add another name of an option, which the help does not show."""
        dest, own = self._options[present]
        given = options or {key: value for key, value in own.items() if key in INHERITED}
        super().add_argument(name, dest=dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **given)

    def also(self, present: str, *names: str, **options: Any) -> None:
        """Accept names that other BIDS Apps have for an option; the help does not show them.

        Parameters
        ----------
        present : str
            The option.
        *names : str
            Its names elsewhere.
        **options
            Options of ``add_argument``, if they differ from those of the present name.
        """
        for name in names:
            self._hide(name, present, **options)
            self.elsewhere[name] = present

    def needless(self, name: str, why: str, **options: Any) -> None:
        """Accept an option of other BIDS Apps that changes nothing here; the run says why."""
        super().add_argument(name, dest="notes", help=argparse.SUPPRESS, action=Noted, note=why, **options)
        self.elsewhere[name] = ""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parse the arguments, with ``_`` in the names of options as ``-``."""
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args([self._dashed(word) for word in words], namespace)

    def _dashed(self, word: str) -> str:
        """Return a word of the command line; an option's name with the dashes that it has here."""
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        known = name.startswith("--") and dashed in self._option_string_actions
        return dashed + equals + value if known else word

    @property
    def arguments(self) -> list[argparse.Action]:
        """All arguments, in the order of the help."""
        return [action for actions in self.sections.values() for action in actions]

    @property
    def positionals(self) -> list[argparse.Action]:
        """Arguments without a flag, in their order."""
        return [action for action in self.arguments if not action.option_strings]

    def option(self, word: str) -> argparse.Action | None:
        """Return the option of that name, in any of its spellings; None if there is none."""
        return self._option_string_actions.get(self._dashed(word))

    def described(self) -> dict[str, str]:
        """Return the names of all options, each with the beginning of its help."""
        return {
            flag: str(action.help or "").replace("%%", "%").partition(";")[0].partition(" (")[0]
            for action in [*self.arguments, *(a for a in self._actions if a.dest == "help")]
            for flag in action.option_strings
        }

    def error(self, message: str) -> NoReturn:
        """Print a mistake in one line and exit with code 2."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown:
            flags = [flag for action in self.arguments for flag in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=3)
            message += f" (did you mean {' or '.join(close)}?)" if close else ""
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help\n")


def invocation(action: argparse.Action) -> str:
    """Return an argument as the documentation writes it.

    Examples
    --------
    >>> parser = Parser()
    >>> invocation(parser.add_argument("-w", "--work-dir", metavar="DIR"))
    '-w, --work-dir DIR'
    >>> invocation(parser.add_argument("--steps", nargs="+", metavar="STEP"))
    '--steps STEP ...'
    """
    value = str(action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}")
    if not action.option_strings:
        return value
    flags = ", ".join(action.option_strings)
    if action.nargs == 0:
        return flags
    return f"{flags} " + {"+": f"{value} ...", "?": f"[{value}]"}.get(str(action.nargs), value)


def device_name(text: str) -> str:
    """Return the name of a device if it is one.

    Raises
    ------
    ArgumentTypeError
        If it is not ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    kind, colon, number = text.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and (kind != "cuda" or not number.isdigit())):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, cpu, cuda, cuda:N or mps")
    return text


def add_compute(parser: Parser) -> None:
    """Add ``--device`` and ``--threads``."""
    parser.add_argument(
        "--device",
        type=device_name,
        default="auto",
        metavar="{auto,cpu,cuda[:N],mps}",
        complete=DEVICES,
        help="device that the networks run on (default: auto)",
    )
    parser.also("--device", "--gpu", action="store_const", const="cuda")
    parser.add_argument("--threads", type=int, metavar="N", help="number of CPUs to use (default: at most 8)")
