"""Functions named by strings: the command line imports what a command needs only when it runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...models.errors import MissingFileError
from ..config import imports
from ..config.environment import quiet_environment
from .parser import Parser


@dataclass(frozen=True)
class Command:
    """One command of ``brainseg``.

    Attributes
    ----------
    usage : str
        Its arguments, for the list of commands.
    summary : str
        What it does, in a few words.
    description : str
        What its own help says first.
    add_arguments : callable
        Adds its arguments to a parser.
    target : str
        The function that runs it, as ``package.module:function``; it takes the parsed arguments and returns
        the exit code.
    extra : str
        The optional dependencies that it needs, as pip names them.
    """

    usage: str
    summary: str
    description: str
    add_arguments: Callable[[Parser], None]
    target: str
    extra: str = ""

    def resolve(self) -> Callable[..., int]:
        """Return the function that runs the command."""
        return resolve(self.target, self.extra)


def resolve(target: str, extra: str = "") -> Callable[..., Any]:
    """Import a function.

    Parameters
    ----------
    target : str
        The function, as ``package.module:function``.
    extra : str
        The optional dependencies that its modules import, as pip names them; empty if there are none.

    Raises
    ------
    MissingFileError
        If one of these dependencies is not installed.

    Examples
    --------
    >>> resolve("os.path:basename")("/data/sub-01")
    'sub-01'
    """
    quiet_environment()
    try:
        return imports.resolve(target)
    except ModuleNotFoundError as error:
        if not extra or not error.name or error.name.startswith("brainseg."):
            raise
        reason = (
            f"this command needs the Python package {error.name.partition('.')[0]}, which is not installed"
        )
        raise MissingFileError(None, reason, f"Run: pip install 'brainseg-bids[{extra}]'") from None
