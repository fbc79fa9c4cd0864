"""A table of pairs of hippocampi: displacements as Learn2Reg wants them, scores of the warps, and figures."""

from __future__ import annotations

import argparse
import csv
import re
import sys
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ....interfaces.io import files
from ....models.errors import InputError, MissingFileError, UsageError
from ....models.hippocampus import registration
from ....models.io import atomic, learn2reg
from ....models.io.folders import IMAGES, files_below
from ....models.registration.label_transfer import transfer
from .. import pictures
from ..compute import device, set_threads
from . import crops
from .crops import Crop

COLUMNS = ("fixed", "moving", "transform", "folds_percent", "affine_error_mm")
"""Columns of the table of results; the first three are those of ``brainseg evaluate --registration``."""

TASK = "task_04"
"""Folder of the task in a submission to Learn2Reg."""

KEPT = 64
"""Crops that are kept in memory, for each is in several pairs."""


def run(args: argparse.Namespace) -> int:
    """Register the pairs of a table; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg hippocampus``.

    Raises
    ------
    UsageError
        If an argument is for one pair, or the table is not valid.
    """
    one = {"MOVING": args.moving, "--inverse": args.inverse, "--moved": args.moved, "--parts": args.parts}
    one |= {"--labels": args.labels, "--grid": args.grid, "--submission": args.submission}
    if given := [name for name, value in one.items() if value]:
        raise UsageError(None, f"{given[0]} is for one pair, and --pairs names many", f"Omit {given[0]}")
    if not args.folder:
        raise UsageError(None, "--pairs needs a folder for the results", "Give --out DIR")
    table, out = Path(args.pairs), Path(args.folder)
    listed = read(table, Path(args.images) if args.images else None)
    set_threads(args)
    name, found = crops.network(args.model)

    @lru_cache(maxsize=KEPT)
    def crop(path: Path) -> Crop:
        return crops.read(path, found, device(args))

    code, rows = 0, []
    for fixed_path, moving_path in listed:
        try:
            rows.append(_register(crop(moving_path), crop(fixed_path), out, args, name, found))
            print(f"{rows[-1][2]}: {rows[-1][3]} % of the voxels fold", flush=True)
        except InputError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
    files.write_table(out / "pairs.tsv", COLUMNS, rows)
    if args.zip and not code:
        print(_zipped(out, [str(row[2]) for row in rows]))
    elif args.zip:
        print("no submission was written, for pairs are missing", file=sys.stderr)
    return code


def read(table: Path, images: Path | None = None) -> list[tuple[Path, Path]]:
    """Return the fixed and the moving image of every pair.

    Parameters
    ----------
    table : Path
        Table with tabs or commas and the columns ``fixed`` and ``moving``: files relative to ``images``, or
        the numbers at the end of their names, as in the tables of Learn2Reg.
    images : Path, optional
        Folder of the images; by default that of the table.

    Raises
    ------
    MissingFileError
        If the table or an image is missing.
    UsageError
        If the table has other columns.
    """
    if not table.is_file():
        raise MissingFileError(table, "the file does not exist", "Check the path")
    folder = images or table.parent
    if not folder.is_dir():
        raise MissingFileError(folder, "no such folder", "Check the path")
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    tabs = bool(lines) and "\t" in lines[0]
    rows = list(csv.DictReader(lines, delimiter="\t" if tabs else ","))
    if not rows or not {"fixed", "moving"} <= set(rows[0]):
        raise UsageError(table, "a table of pairs needs the columns fixed and moving", "Add them")
    every = files_below(folder, *IMAGES)
    return [(_image(row["fixed"], folder, every), _image(row["moving"], folder, every)) for row in rows]


def _image(text: str, folder: Path, every: list[Path]) -> Path:
    if (folder / text).is_file():
        return folder / text
    found = [path for path in every if text.isdigit() and _number(path) == int(text)]
    if len(found) != 1:
        reason = f"{len(found)} images are {text!r} of the table of pairs"
        raise MissingFileError(folder, reason, "Name files relative to the folder of --images")
    return found[0]


def _number(path: Path) -> int | None:
    """Return the number at the end of a name; None if there is none."""
    found = re.search(r"(\d+)$", path.name.split(".nii")[0])
    return int(found[1]) if found else None


def _named(path: Path) -> str:
    """Return the name of an image in the name of a displacement.

    Examples
    --------
    >>> _named(Path("hippocampus_7.nii.gz")), _named(Path("left.nii.gz"))
    ('0007', 'left')
    """
    number = _number(path)
    return path.name.split(".nii")[0] if number is None else f"{number:04d}"


def _register(
    moving: Crop, fixed: Crop, out: Path, args: argparse.Namespace, name: str, found: Any
) -> tuple[Any, ...]:
    """Register one pair, write its files and return the row of the table."""
    done = crops.register(moving, fixed, name, found, device(args))
    stem = f"disp_{_named(fixed.path)}_{_named(moving.path)}"
    target = f"{TASK}/{stem}.npz"
    (out / TASK).mkdir(parents=True, exist_ok=True)
    grids = fixed.image.grid, moving.image.grid
    learn2reg.write(out / target, done.forward, *grids, every=args.every)
    folds = float((done.forward.jacobian(grids[0]).data <= 0).float().mean())
    if args.plots:
        _draw(done.forward, moving, fixed, out / "figures" / f"{stem}.png")
    error = "n/a" if done.error_mm is None else f"{done.error_mm:.2f}"
    return fixed.path.name, moving.path.name, target, f"{100 * folds:.4f}", error


def _draw(forward: Any, moving: Crop, fixed: Crop, out: Path) -> None:
    """Draw the fixed image with the outlines of its parts in green, and of the moved ones in red."""
    image = fixed.image.canonical()
    fit = [None if one.parts is None else one.parts.on(one.image.grid) for one in (fixed, moving)]
    own, other = fit
    if own is None or other is None:
        raise UsageError(None, "this network (GradientNet) segments no parts to draw", "Omit --plots")
    moved = transfer(
        forward, other.with_data(other.data.to(torch.int32)), fixed.image.grid, registration.SMOOTHING
    )
    drawn = [one.canonical().data.numpy() for one in (moved, own)]
    figure = pictures.overlay(image.data.numpy(), drawn[0], drawn[1], image.grid.spacing)
    with atomic.replacing(out, keep_extension=True) as temporary:
        figure.save(temporary)


def _zipped(out: Path, names: list[str]) -> Path:
    """Write the displacements as a submission and return its path."""
    path = out / "submission.zip"
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            archive.write(out / name, name)
    return path
