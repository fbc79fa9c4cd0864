"""Completion of the commands in a shell: ``eval "$(brainseg-bids --completion bash)"``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from ..config.settings import STEPS

SHELLS = ("bash", "zsh", "fish", "tcsh")
FOLDERS = ("bids_dir", "output_dir", "work_dir", "bids_database_dir", "folder", "derivatives")
FILES = (
    "bids_filter_file",
    "config_file",
    "nipype_plugin_file",
    "image",
    "recipe",
    "ref",
    "pred",
    "moving",
    "fixed",
)
LEVELS = "analysis_level"


class Completion(argparse.Action):
    """``--completion SHELL``: print the script and end."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(script(parser, values))
        parser.exit()


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What a shell has to read to complete a command.

    Parameters
    ----------
    parser : ArgumentParser
        The command.
    shell : str
        One of ``SHELLS``.
    """
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _mark(inner._actions, shtab)
    _mark(parser._actions, shtab)
    return shtab.complete(parser, shell)


def _mark(actions: Iterable[argparse.Action], shtab) -> None:
    """Say which arguments are files, folders or of few values; what is parsed is left as it is."""
    for action in actions:
        if action.dest in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest == LEVELS:
            action.choices = ("participant", "group")
        elif action.dest == "steps":
            action.choices = tuple(word for name in STEPS for word in (name, f"no-{name}"))


def of_commands(
    prog: str, commands: dict[str, tuple[Callable, Callable]], shell: str, make: type[argparse.ArgumentParser]
) -> str:
    """The script for a command with commands of its own; those of two words are completed as one."""
    parser = make(prog=prog)
    inner = parser.add_subparsers()
    for name, (describe, run) in commands.items():
        if " " not in name:
            describe(inner.add_parser(name, help=(run.__doc__ or "").split(":")[0]))
    return script(parser, shell)
