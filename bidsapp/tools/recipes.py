"""Recipes and files of the training commands, with errors that name the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...models.errors import UsageError
from ...training.core.recipe import Recipe
from ...training.kinds import registry


def existing(path: str | Path, remedy: str = "Check the path") -> Path:
    """Return a path if it is a file.

    Parameters
    ----------
    path : path-like
        The file.
    remedy : str
        How to make the file.

    Raises
    ------
    UsageError
        If there is no such file.
    """
    if not Path(path).is_file():
        raise UsageError(path, "the file does not exist", remedy)
    return Path(path)


def read(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Return a recipe.

    Parameters
    ----------
    name : str
        A YAML file, or the name of an installed recipe.
    changes : dict, optional
        Values that replace those of the recipe.

    Raises
    ------
    UsageError
        If there is no such recipe or it is not valid.
    """
    try:
        return registry.read(name, changes)
    except (FileNotFoundError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageError(None, str(error), "The installed recipes are in training/recipes") from None


def changes(texts: list[str]) -> dict[str, Any]:
    """Return the changes to a recipe that the command line names.

    Parameters
    ----------
    texts : list of str
        Changes as ``key=value``; the values are YAML.

    Raises
    ------
    UsageError
        If a text is not ``key=value``.

    Examples
    --------
    >>> changes(["minutes=120", "loggers=[]"])
    {'minutes': 120, 'loggers': []}
    """
    out: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(None, f"{text!r} is not key=value", "Write it as in minutes=120")
        out[key] = yaml.safe_load(value)
    return out
