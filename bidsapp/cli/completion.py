"""Completion of the commands in a shell: ``eval "$(brainseg-bids --completion bash)"``.

The script of the shell passes the line to the program, which answers with the words that fit. So the
participants, recipes and networks are those that exist.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from ...models.data import FOLDER
from ...models.parcellation import names
from ...models.templates import spaces
from .parser import Parser

ASK = "--complete"
"""First word of the call ``PROG --complete SHELL LINE``. The answer has a word in each line; for shells that
complete files themselves, the kind of files comes before them."""

SCRIPTS = {
    "bash": """\
_FUNCTION() {
  local line kind=""
  COMPREPLY=()
  while IFS= read -r line; do
    if [ -z "$kind" ]; then kind=$line; else COMPREPLY+=("$line"); fi
  done < <("$1" ASK bash "${COMP_LINE:0:$COMP_POINT}" 2>/dev/null)
  case $kind in
    file) compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$2") ;;
    folder) compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "$2") ;;
  esac
}
complete -F _FUNCTION PROG
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_FUNCTION() {
  local -a lines
  lines=("${(@f)$("${words[1]}" ASK zsh "${(j: :)${(@)words[1,CURRENT-1]}} $PREFIX" 2>/dev/null)}")
  (( $#lines > 1 )) && { local -a found; found=("${(@)lines[2,-1]}"); _describe word found }
  compset -P '*='
  case $lines[1] in
    file) _files ;;
    folder) _files -/ ;;
  esac
}
compdef _FUNCTION PROG
""",
    "fish": """\
complete -c PROG -f -a '(PROG ASK fish (commandline -cp) 2>/dev/null)'
""",
    "tcsh": """\
complete PROG 'p@*@`PROG ASK tcsh ""`@'
""",
}
"""Scripts of the shells."""


def script(prog: str, shell: str) -> str:
    """Return the script that completes a program.

    Parameters
    ----------
    prog : str
        Name of the program.
    shell : str
        One of ``parser.SHELLS``.
    """
    function = prog.replace("-", "_") + "_complete"
    return SCRIPTS[shell].replace("FUNCTION", function).replace("PROG", prog).replace("ASK", ASK)


def answer(
    shell: str, line: str, parser_of: Callable[[list[str]], tuple[Parser, list[str], list[str]]]
) -> str:
    """Return the words that can stand at the end of a line, in the form that the shell's script reads.

    Parameters
    ----------
    shell : str
        One of ``parser.SHELLS``.
    line : str
        The command line up to the cursor; of tcsh it is in the environment.
    parser_of : callable
        Takes the words before the last one and returns the parser of the command, those of the words that
        are its arguments, and names of further commands that may follow.
    """
    words, last = _split(os.environ.get("COMMAND_LINE", "") if shell == "tcsh" else line)
    parser, before, commands = parser_of(words[1:])
    typed = _Typed(parser)
    for word in before:
        typed.take(word)
    kind, found = typed.offers(last)
    found = {**dict.fromkeys(commands, ""), **found}
    matching = {word: text for word, text in found.items() if word.startswith(last)}
    if shell in ("zsh", "fish"):
        between = ":" if shell == "zsh" else "\t"
        lines = [
            _quoted(word, shell) + (f"{between}{text}" if text else "") for word, text in matching.items()
        ]
    else:
        cut = max(last.rfind("="), last.rfind(":")) + 1 if shell == "bash" else 0
        lines = [word[cut:] for word in matching]
    return "\n".join([kind, *lines] if shell in ("bash", "zsh") else [*lines, *_paths(kind, last)])


def _quoted(word: str, shell: str) -> str:
    return word.replace(":", "\\:") if shell == "zsh" else word


def _paths(kind: str, start: str) -> list[str]:
    """Return the files or folders that begin with ``start``, a path or ``NAME=PATH``, as typed."""
    folder, slash, name = start.rpartition("=")[2].rpartition("/")
    base = Path(folder or slash or ".").expanduser()
    if kind == "words" or not base.is_dir():
        return []
    before = start[: len(start) - len(name)]
    found = [path for path in sorted(base.iterdir()) if path.name.startswith(name)]
    return [f"{before}{p.name}{'/' * p.is_dir()}" for p in found if kind == "file" or p.is_dir()]


def _split(line: str) -> tuple[list[str], str]:
    """Return the words of a line before the last one, and the last one, which may be empty."""
    for end in ("", '"', "'"):
        try:
            words = shlex.split(line + end)
        except ValueError:
            continue
        if not words or (line[-1:].isspace() and not end):
            return words, ""
        return words[:-1], words[-1]
    return line.split()[:-1], line.split()[-1]


@dataclass
class _Typed:
    """The words of a command line so far, by the arguments that they belong to."""

    parser: Parser
    places: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    action: argparse.Action | None = None
    taken: int = 0

    def take(self, word: str) -> None:
        """Take the next word."""
        name, equals, value = word.partition("=")
        option = self.parser.option(name)
        if option is not None:
            self.action, self.taken = option, 0
            if equals:
                self._value(option, value)
            if self.taken >= _limits(option)[1]:
                self.action = None
        elif self.action is not None and not word.startswith("-"):
            self._value(self.action, word)
            if self.taken >= _limits(self.action)[1]:
                self.action = None
        elif not word.startswith("-"):
            self.places.append(word)

    def _value(self, action: argparse.Action, value: str) -> None:
        self.values.setdefault(action.dest, []).append(value)
        self.taken += 1

    def offers(self, last: str) -> tuple[str, dict[str, str]]:
        """Return the kind (``words``, ``file`` or ``folder``) and the words, with their descriptions."""
        name, equals, _ = last.partition("=")
        option = self.parser.option(name)
        if equals and option is not None:
            kind, words = self._of(option)
            return kind, {f"{name}={word}": "" for word in words}
        if last.startswith("-"):
            return "words", self.parser.described()
        action, place = self.action, self._place()
        if action is None:
            return self._of(place) if place is not None else ("words", self.parser.described())
        kind, words = self._of(action)
        if self.taken >= _limits(action)[0] and place is not None:
            more, names = self._of(place)
            return (kind, {**words, **names}) if more == "words" else (more, words)
        return kind, words

    def _place(self) -> argparse.Action | None:
        """Return the positional argument that comes next."""
        count = len(self.places)
        for action in self.parser.positionals:
            most = _limits(action)[1]
            if count < most:
                return action
            count -= int(most)
        return None

    def _of(self, action: argparse.Action) -> tuple[str, dict[str, str]]:
        """Return what completes an argument."""
        given = next((spec for other, spec in self.parser.completions if other.dest == action.dest), "")
        if not given:
            return "words", dict.fromkeys(map(str, action.choices or ()), "")
        if isinstance(given, tuple):
            kind, words = "words", list(given)
        else:
            kind, source = SOURCES[given]
            words = source(self)
        used = set(self.values.get(action.dest, ())) | set(self.places[2:])
        return kind, dict.fromkeys((word for word in words if word not in used), "")

    @property
    def root(self) -> Path:
        """The folder that comes first on the line: the dataset."""
        return Path(os.path.expandvars(self.places[0] if self.places else ".")).expanduser()


def _limits(action: argparse.Action) -> tuple[int, float]:
    """Return the smallest and the largest number of values of an argument."""
    if isinstance(action.nargs, int):
        return action.nargs, action.nargs
    return {"?": (0, 1), "*": (0, float("inf")), "+": (1, float("inf"))}.get(str(action.nargs), (1, 1))


def _labels(typed: _Typed) -> list[str]:
    """Return the participants of the dataset."""
    if not typed.places:
        return []
    return sorted(path.name.removeprefix("sub-") for path in typed.root.glob("sub-*") if path.is_dir())


def _sessions(typed: _Typed) -> list[str]:
    """Return the sessions of the dataset, or of the participants that are named."""
    if not typed.places:
        return []
    named = [label.removeprefix("sub-") for label in typed.values.get("participant_label", [])]
    paths = [path for label in named or ["*"] for path in typed.root.glob(f"sub-{label}/ses-*")]
    return sorted({path.name.removeprefix("ses-") for path in paths})


def _templates(typed: _Typed) -> list[str]:
    """Return the bundled templates and those of TemplateFlow on this machine."""
    fetched = [path.name.removeprefix("tpl-") for path in spaces.home().glob("tpl-*")]
    return sorted({*spaces.embedded(), *fetched})


def _stems(folder: Iterable[object], ending: str) -> list[str]:
    names = (str(getattr(path, "name", path)) for path in folder)
    return sorted(name.removesuffix(ending) for name in names if name.endswith(ending))


def _recipes(typed: _Typed) -> list[str]:
    """Return the installed recipes."""
    return _stems((resources.files("brainseg.training") / "recipes").iterdir(), ".yaml")


def _mappings(typed: _Typed) -> list[str]:
    """Return the installed tables of labels of other programs."""
    return _stems((resources.files("brainseg.training") / "sources").iterdir(), ".tsv")


def _tables(typed: _Typed) -> list[str]:
    """Return the installed label tables."""
    return _stems((FOLDER / "labels").iterdir(), ".tsv")


def _networks(typed: _Typed) -> list[str]:
    """Return the installed networks."""
    return _stems((FOLDER / "weights").iterdir(), ".safetensors")


def _nothing(typed: _Typed) -> list[str]:
    return []


SOURCES: dict[str, tuple[str, Callable[[_Typed], list[str]]]] = {
    "file": ("file", _nothing),
    "folder": ("folder", _nothing),
    "participant": ("words", _labels),
    "session": ("words", _sessions),
    "template": ("file", _templates),
    "atlas": ("file", lambda typed: names.shipped()),
    "recipe": ("file", _recipes),
    "mapping": ("file", _mappings),
    "table": ("file", _tables),
    "network": ("file", _networks),
}
"""What the ``complete`` of an argument means: the kind of files that fit, and the words."""
