"""``brainseg hippocampus``: register one hippocampus to another, as in Learn2Reg, task 4."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...interfaces.io import files
from ...models.deformation.warp import Warp
from ...models.errors import InputError, MissingFileError, UsageError
from ...models.geometry.volume import Volume
from ...models.hippocampus import hippocampus, registration
from ...models.io import itk, learn2reg
from ...models.networks import gradient_net, purpose, zoo
from ...models.registration.label_transfer import transfer
from ..execution.directories import distinct
from .compute import device, set_threads
from .scans import read_noted

LEAST_MM = 10.0
"""Smallest field of view of a crop (mm)."""

ENDINGS = {
    "out": ".h5",
    "inverse": ".h5",
    "moved": ".nii.gz",
    "parts": ".nii.gz",
    "grid": ".npy",
    "submission": ".npz",
}
"""File extension of each output."""


def run(args: argparse.Namespace) -> int:
    """Register two T1w crops of one hippocampus each and write the transform; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg hippocampus``.
    """
    _check(args)
    set_threads(args)
    name, network = _network(args)
    moving, fixed = (_crop(path) for path in (args.moving, args.fixed))
    forward, inverse, summary = _register(args, moving, fixed, name, network)
    files.write_binary(Path(args.out), lambda file: itk.write(file, forward))
    if args.inverse:
        assert inverse is not None
        files.write_binary(Path(args.inverse), lambda file: itk.write(file, inverse))
    _write(args, forward, moving, fixed)
    folds = float((forward.jacobian(fixed.grid).data <= 0).float().mean())
    print(f"{args.out}: {summary}{100 * folds:.4f} % of the voxels fold")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check the names of all outputs."""
    outputs = {name: getattr(args, name) for name in ENDINGS}
    for name, path in outputs.items():
        if path and not path.endswith(ENDINGS[name]):
            raise UsageError(
                path, f"this output is a {ENDINGS[name]} file", f"End its name with {ENDINGS[name]}"
            )
    labels = args.labels or (None, None)
    distinct((args.moving, args.fixed, args.model, labels[0]), (*outputs.values(), labels[1]))
    if args.labels and not args.labels[1].endswith(".nii.gz"):
        raise UsageError(args.labels[1], "images are written as .nii.gz", "End its name with .nii.gz")


def _network(args: argparse.Namespace) -> tuple[str, Any]:
    """Return the name of the weights and their network."""
    name = args.model or registration.NETWORK
    try:
        purpose.check(name, "hippocampus registration")
        model = zoo.load(name)
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    network = model.network
    if isinstance(network, gradient_net.GradientNet) and (args.inverse or args.parts):
        reason = "this network (GradientNet) computes neither --inverse nor --parts"
        raise UsageError(name, reason, "Omit these options")
    return name, network


def _crop(path: str) -> Volume:
    return read_noted(path, least_mm=LEAST_MM)


def _register(
    args: argparse.Namespace, moving: Volume, fixed: Volume, name: str, network: Any
) -> tuple[Warp, Warp | None, str]:
    """Return the transform that resamples moving onto fixed, its inverse, and a summary for the console."""
    if isinstance(network, gradient_net.GradientNet):
        crops = hippocampus.upright(moving), hippocampus.upright(fixed)
        return gradient_net.align(network, crops[0], crops[1]), None, ""
    parts = [hippocampus.find(one, device=device(args)) for one in (moving, fixed)]
    try:
        found = registration.register(parts[0], parts[1], network=name, device=device(args))
    except InputError as error:
        raise InputError(f"{args.moving}, {args.fixed}", error.reason, error.remedy) from None
    if args.parts:
        labels = parts[0].on(moving.grid).data.numpy()
        files.write_image(Path(args.parts), labels, moving.affine, 2)
    summary = f"parts {found.error_mm:.1f} mm apart (median) after the affine registration, "
    return found.forward, found.inverse, summary


def _write(args: argparse.Namespace, forward: Warp, moving: Volume, fixed: Volume) -> None:
    """Write the requested images and arrays."""
    if args.moved:
        data = forward.resample(moving, fixed.grid, "cubic").data.numpy()
        files.write_image(Path(args.moved), data.astype(np.float32), fixed.affine, 2)
    if args.labels:
        labels = _crop(args.labels[0])
        if labels.grid.shape != moving.grid.shape:
            reason = "the labels are not on the grid of MOVING"
            raise InputError(args.labels[0], reason, "Resample them to that grid")
        whole = labels.with_data(labels.data.round().to(torch.int32))
        data = transfer(forward, whole, fixed.grid, registration.SMOOTHING).data.numpy()
        kept = np.min_scalar_type(int(data.max()))
        files.write_image(Path(args.labels[1]), data.astype(kept), fixed.affine, 2)
    if args.grid:
        found = learn2reg.positions(forward, fixed.grid, moving.grid).astype(np.float32)
        files.write_binary(Path(args.grid), lambda file: np.save(file, found))
    if args.submission:
        path = Path(args.submission)
        learn2reg.write(path, forward, fixed.grid, moving.grid, every=args.every)
