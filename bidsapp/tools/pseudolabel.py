"""``brainseg pseudolabel``: transfer the labels of one scan to others by registration."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ...interfaces.io import files
from ...models.errors import InputError, UsageError
from ...models.geometry.volume import Volume
from ...models.io import conform
from ...models.io.images import open_image
from ...models.registration import registration
from . import anatomy
from .compute import device, set_threads


def run(args: argparse.Namespace) -> int:
    """Transfer the labels of an atlas to scans, by the inverse of their registration; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg pseudolabel``.
    """
    paths = [Path(path) for path in args.scans]
    names = _names(paths)
    labels = _labels(args, paths)
    set_threads(args)
    on = device(args)
    atlas = anatomy.read(Path(args.atlas), on)
    kind = np.min_scalar_type(int(labels.data.max()))
    for path, name in zip(paths, names, strict=True):
        scan = anatomy.read(path, on)
        found = registration.register(scan, atlas, refine=args.refine, network=registration.NETWORK)
        moved = found.inverse.resample(labels, scan.image.grid, "label").data.numpy()
        source = open_image(path)
        out = Path(args.out) / f"{name}_dseg.nii.gz"
        files.write_image(out, np.rint(moved).astype(kind), source.affine, files.geometry_code(source))
        print(out)
    return 0


def _names(paths: list[Path]) -> list[str]:
    """Return the names of the scans without extension; each must be given once."""
    names = [path.name.removesuffix(".gz").removesuffix(".nii") for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(None, f"two scans are called {twice[0]}", "Give them in two commands")
    return names


def _labels(args: argparse.Namespace, scans: list[Path]) -> Volume:
    """Return the labels of the atlas, after checking that all inputs exist."""
    for path in (Path(args.atlas), Path(args.labels), *scans):
        if not path.is_file():
            raise InputError(path, "the file does not exist", "Check the path")
    labels = conform.read(args.labels)
    if labels.grid.shape != conform.read(args.atlas).grid.shape:
        reason = "the labels are not on the grid of the atlas"
        raise InputError(args.labels, reason, "Resample them to that grid")
    return labels
