"""``brainseg hippocampus``: register one hippocampus to another, as in Learn2Reg, task 4."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ....interfaces.io import files
from ....models.deformation.warp import Warp
from ....models.errors import InputError, UsageError
from ....models.geometry.volume import Volume
from ....models.hippocampus import registration
from ....models.io import itk, learn2reg
from ....models.registration.label_transfer import transfer
from ...execution.directories import distinct
from ..compute import device, set_threads
from . import crops, pairs

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
    if args.pairs:
        return pairs.run(args)
    if not args.out:
        raise UsageError(None, "MOVING, FIXED and OUT.h5 are needed", "Give them, or --pairs PAIRS --out DIR")
    if args.folder or args.images or args.zip or args.plots:
        reason = "--out, --images, --zip and --plots are for a table of pairs"
        raise UsageError(None, reason, "Give --pairs, or omit them")
    _check(args)
    set_threads(args)
    name, network = crops.network(args.model)
    if crops.is_gradient(network) and (args.inverse or args.parts):
        reason = "this network (GradientNet) computes neither --inverse nor --parts"
        raise UsageError(name, reason, "Omit these options")
    moving, fixed = (crops.read(path, network, device(args)) for path in (args.moving, args.fixed))
    found = crops.register(moving, fixed, name, network, device(args))
    files.write_binary(Path(args.out), lambda file: itk.write(file, found.forward))
    if args.inverse:
        inverse = found.inverse
        assert inverse is not None
        files.write_binary(Path(args.inverse), lambda file: itk.write(file, inverse))
    if args.parts:
        assert moving.parts is not None
        labels = moving.parts.on(moving.image.grid).data.numpy()
        files.write_image(Path(args.parts), labels, moving.image.affine, 2)
    _write(args, found.forward, moving.image, fixed.image)
    folds = float((found.forward.jacobian(fixed.image.grid).data <= 0).float().mean())
    summary = ""
    if found.error_mm is not None:
        summary = f"parts {found.error_mm:.1f} mm apart (median) after the affine registration, "
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


def _write(args: argparse.Namespace, forward: Warp, moving: Volume, fixed: Volume) -> None:
    """Write the requested images and arrays."""
    if args.moved:
        data = forward.resample(moving, fixed.grid, "cubic").data.numpy()
        files.write_image(Path(args.moved), data.astype(np.float32), fixed.affine, 2)
    if args.labels:
        labels = crops.image(args.labels[0])
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
