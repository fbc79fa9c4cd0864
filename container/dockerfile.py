"""Read the Dockerfile: its stages and their steps, as far as this image uses the language."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = ("ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "ENTRYPOINT", "CMD")


@dataclass
class Stage:
    """One stage.

    Attributes
    ----------
    name : str
        Name given with ``AS``; empty for the last stage.
    base : str
        Base image, with arguments replaced.
    steps : list of tuple of str
        Instruction and its text, in order, without ``FROM``.
    """

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read(path: Path, arguments: Mapping[str, str] | None = None) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Parameters
    ----------
    path : Path
        The Dockerfile.
    arguments : mapping of str to str, optional
        Values of build arguments for the base image.

    Raises
    ------
    ValueError
        If it has an instruction that is not known here.
    """
    stages: list[Stage] = []
    before: dict[str, str] = {}
    for word, text in _instructions(path.read_text()):
        if word not in KNOWN:
            raise ValueError(f"{path}: the instruction {word} is not known to {__name__}")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            stages.append(Stage(name.strip(), substitute(base.strip(), before | dict(arguments or {}))))
        elif stages:
            stages[-1].steps.append((word, text))
        else:
            before.update(pairs(text))
    return stages


def pairs(text: str) -> dict[str, str]:
    """Return the names and values of an ARG, ENV or LABEL.

    Examples
    --------
    >>> pairs('A=1 B="two words"')
    {'A': '1', 'B': 'two words'}
    """
    parts = [word.partition("=") for word in shlex.split(text)]
    return {name: value for name, _, value in parts}


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a text with ``$NAME`` and ``${NAME}`` replaced.

    Examples
    --------
    >>> substitute("${A}/bin:$B", {"A": "/opt"})
    '/opt/bin:'
    """
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: values.get(found[1] or found[2], ""), text)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield instruction and text of every line, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = ""
    for line in lines:
        if line.rstrip().endswith("\\"):
            whole += line.rstrip()[:-1] + "\n"
            continue
        whole += line
        if whole.strip():
            word, _, rest = whole.strip().partition(" ")
            yield word.upper(), rest.replace("\n", " ").strip()
        whole = ""
