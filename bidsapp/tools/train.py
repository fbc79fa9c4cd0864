"""``brainseg train``: train the network of a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...models.data import model_files
from ...models.errors import MissingFileError, UsageError
from ...training.core import average as weights
from ...training.core.lightning import train
from ...training.core.recipe import UNSTATED
from ...training.kinds.assemble import Data, assemble
from ...training.supervised import ensemble
from . import recipes
from .compute import device, set_threads

PREPARE = "Make it with: brainseg train prepare OUT MAP ..."
SCANS = "Make it with: brainseg train scans OUT FOLDER"
UNLABELED = "Make it with: brainseg train unlabeled OUT SCAN ..."

NO_LICENSE = (
    "the license of the training data is not stated, and the model card will say so; state it in the recipe "
    "or with license=... and data='...'"
)


def run(args: argparse.Namespace) -> int:
    """Train a network, or continue its training; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train``.

    Raises
    ------
    UsageError
        If the arguments do not fit the recipe.
    """
    changes = recipes.changes(args.changes)
    data = Data(
        arrays=_existing(args.data, PREPARE),
        maps=Path(args.maps) if args.maps else None,
        table=args.table,
        validation=_existing(args.validation, PREPARE),
        scans=_existing(args.scans, SCANS),
        labeled=_existing(args.labeled, SCANS),
        unlabeled=_existing(args.unlabeled, UNLABELED),
        split=_existing(args.split, "It is written into the folder of every run"),
        fold=args.fold,
    )
    recipe = recipes.read(args.recipe, changes)
    if recipe.kind == "supervised":
        recipe = recipes.read(args.recipe, changes | ({"table": args.table} if args.table else {}))
    elif args.split or args.fold:
        raise UsageError(None, "--split and --fold are for recipes of the kind supervised", "Omit them")
    set_threads(args)
    run = assemble(recipe, data, Path(args.out), changes, device(args))
    if run.recipe.license.startswith(UNSTATED):
        print(f"note: {NO_LICENSE}", flush=True)
    print(train(run))
    return 0


def combine(args: argparse.Namespace) -> int:
    """Write several networks as one; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train combine``.

    Raises
    ------
    MissingFileError
        If a network is missing or damaged.
    """
    return _written(ensemble.combine, args)


def average(args: argparse.Namespace) -> int:
    """Write the mean of the weights of several trainings; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train average``.

    Raises
    ------
    MissingFileError
        If a network is missing or damaged.
    """
    return _written(partial(weights.average, eight_bits=args.eight_bits), args)


def _written(function: Callable[[list[Path], Path], Path], args: argparse.Namespace) -> int:
    """Make one network of several, and print its file."""
    try:
        paths = [model_files.path_of(name) for name in args.networks]
        print(function(paths, Path(args.out)))
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    return 0


def _existing(path: str | None, remedy: str) -> Path | None:
    """Return the path of a file if there is one."""
    return recipes.existing(path, remedy) if path else None
