"""``brainseg register``: register any scan to another or to a template."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ...interfaces import growth
from ...interfaces.io import files
from ...interfaces.registration import check_cohort, with_cohort
from ...models.deformation.diffeomorphic import Options
from ...models.errors import InputError, MissingFileError, UsageError
from ...models.io import conform, itk
from ...models.io.images import open_image
from ...models.networks import purpose, zoo
from ...models.population import populations
from ...models.population.populations import Population
from ...models.registration import linear, reference, registration
from ...models.registration.result import Anatomy, RegistrationResult
from ...models.templates import catalog, spaces
from ...models.templates.spaces import Space
from ..execution.directories import distinct
from . import anatomy
from .compute import device, set_threads

IMAGES = (".nii", ".nii.gz")


def run(args: argparse.Namespace) -> int:
    """Register a scan to another or to a template, and write the transform; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg register``.
    """
    record = populations.load(args.population or _population(args.fixed))
    _check(args, record)
    set_threads(args)
    on = device(args)
    moving = anatomy.read(Path(args.moving), on, record)
    fixed = _fixed(args.fixed, on, record, moving)
    print("registration", file=sys.stderr)
    network = None if args.start == "none" else args.start or record.velocity or None
    if args.kind:
        found = linear.affine(moving, fixed, args.kind)
    else:
        found = registration.register(
            moving,
            fixed,
            engine=args.engine,
            refine=args.refine,
            options=Options().finer(**record.registration) if record.registration else None,
            network=network,
        )
    files.write_binary(Path(args.out), lambda file: itk.write(file, found.forward))
    if args.inverse:
        files.write_binary(Path(args.inverse), lambda file: itk.write(file, found.inverse))
    _write_images(args, found, fixed)
    deformed = args.engine != "none" and not args.kind
    folds = f", {100 * found.folds:.4f} % of the voxels fold" if deformed else ""
    apart = f"structures {found.error_mm:.1f} mm apart (median)"
    print(f"{args.out}: {apart} after the {args.kind or 'affine'} registration{folds}")
    return 0


def _population(fixed: str) -> str:
    """Return the population that a template by age belongs to, else adults."""
    if Path(fixed).is_file() or fixed.endswith(IMAGES):
        return "adult"
    name = spaces.parse(fixed).name
    return next((one for one in populations.trained() if name in populations.load(one).cohorts), "adult")


def _needs_age(space: Space) -> bool:
    """Return whether the cohort of a template is still to be chosen by gestational age."""
    own = space.path is None and space.name in catalog.names()
    return space.cohort is None and (own or bool(spaces.by_age(space)))


def _check(args: argparse.Namespace, record: Population) -> None:
    """Check all inputs and outputs before anything is computed."""
    if not Path(args.moving).is_file():
        raise InputError(args.moving, "the file does not exist", "Check the path")
    if not Path(args.fixed).is_file():
        if args.fixed.endswith(IMAGES) and "=" not in args.fixed:
            raise InputError(args.fixed, "the file does not exist", "Check the path")
        spaces.find(spaces.parse(args.fixed))
        if _needs_age(spaces.parse(args.fixed)):
            check_cohort(args.fixed, record.name)
    if args.start and args.start != "none":
        _check_start(args.start)
    labels = args.labels or (None, None)
    written = (args.out, args.inverse, args.moved, args.jacobian, labels[1])
    distinct((args.moving, args.fixed, args.start, labels[0]), written)
    for path in filter(None, (args.out, args.inverse)):
        if not path.endswith(".h5"):
            raise UsageError(path, "transforms are written as .h5", "End its name with .h5")
    if args.labels and not Path(args.labels[0]).is_file():
        raise InputError(args.labels[0], "the file does not exist", "Check the path")
    for path in filter(None, (args.moved, args.jacobian, args.labels and args.labels[1])):
        if not path.endswith(".nii.gz"):
            raise UsageError(path, "images are written as .nii.gz", "End its name with .nii.gz")


def _check_start(name: str) -> None:
    """Check that the weights of ``--start`` are installed and predict velocities."""
    try:
        purpose.check(name, "registration")
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None


def _fixed(text: str, on: str, record: Population, moving: Anatomy) -> Anatomy:
    """Return the anatomy of the fixed scan or template."""
    if Path(text).is_file():
        return anatomy.read(Path(text), on, record)
    if _needs_age(spaces.parse(text)):
        text = _with_cohort(text, record, moving)
    return reference.load(text, record.name, on)


def _with_cohort(text: str, record: Population, moving: Anatomy) -> str:
    """Return the template with the cohort for the age that the volumes of the brain suggest."""
    labels = moving.structures.data.numpy()
    voxel = float(np.prod(moving.structures.grid.spacing))
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    volumes = {int(k): float(n) * voxel for k, n in zip(ids, counts, strict=True)}
    age, _ = growth.age_of(volumes, record, None)
    if age is None:
        reason = (
            f"the template {text} needs an age, and it cannot be estimated from the volumes of this brain"
        )
        raise InputError(None, reason, "Name a cohort: NAME:cohort-N")
    chosen = with_cohort(text, record.name, age, volumes)
    print(f"template {chosen}: age estimated from volumes {age['age']:.1f} {age['unit']}", file=sys.stderr)
    return chosen


def _write_images(args: argparse.Namespace, found: RegistrationResult, fixed: Anatomy) -> None:
    """Write the requested images on the grid of the fixed image."""
    grid = fixed.image.grid
    if args.moved:
        scan = conform.read(args.moving)
        moved = found.forward.resample(scan, grid, "cubic").data.numpy()
        files.write_image(Path(args.moved), moved.astype(np.float32), grid.affine, 2)
    if args.labels:
        source, out = args.labels
        labels = conform.read(source)
        kept = open_image(source).get_data_dtype()
        if kept.kind not in "iu":
            kept = np.dtype(np.int32)
        moved = found.forward.resample(labels, grid, "label").data.numpy()
        files.write_image(Path(out), np.rint(moved).astype(kept), grid.affine, 2)
    if args.jacobian:
        change = found.forward.jacobian(grid).data.numpy()
        files.write_image(Path(args.jacobian), change.astype(np.float32), grid.affine, 2)
