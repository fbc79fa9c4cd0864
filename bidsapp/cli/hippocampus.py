"""``brainseg hippocampus``: one hippocampus onto another, as Learn2Reg's task 4 asks for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError, MissingFileError, UsageError
from .options import add_compute, device, threads

if TYPE_CHECKING:
    from ...models.deformation.warp import Warp
    from ...models.geometry.volume import Volume

LEAST_MM = 10.0
"""Smallest field of view of a crop."""

ENDINGS = {
    "out": ".h5",
    "inverse": ".h5",
    "moved": ".nii.gz",
    "parts": ".nii.gz",
    "grid": ".npy",
    "submission": ".npz",
}
"""What the name of each output ends with."""


def describe(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("moving", metavar="MOVING", help="a T1w image cut out about one hippocampus")
    add("fixed", metavar="FIXED", help="another, of the same side")
    add("out", metavar="OUT.h5", help="transform that resamples MOVING onto FIXED (ITK composite)")
    add("--inverse", metavar="OUT.h5", help="also write the transform that resamples FIXED onto MOVING")
    add("--moved", metavar="IMAGE", help="also write MOVING on the grid of FIXED")
    add("--labels", nargs=2, metavar=("IN", "OUT"), help="also bring a label image of MOVING onto FIXED")
    add(
        "--parts",
        metavar="IMAGE",
        help="also write the parts of MOVING that were found (1 anterior, 2 posterior)",
    )
    add("--grid", metavar="NPY", help="also write where the voxels of FIXED lie in MOVING (voxels, float32)")
    add("--submission", metavar="NPZ", help="also write the displacements as Learn2Reg wants them (float16)")
    add("--every", type=int, choices=(1, 2), default=1, help="2: the submission at half the resolution (1)")
    add("--model", metavar="NAME", help="weights of another network that registers, in place of ours")
    add_compute(parser)


def run(given: argparse.Namespace) -> int:
    """Register MOVING to FIXED, two T1w images of one hippocampus each: affine, then diffeomorphic."""
    from ...interfaces.io import files
    from ...models.io import itk
    from ..execution.directories import quiet_environment

    quiet_environment()
    _check(given)
    threads(given)
    named = _network(given)
    moving, fixed = (_crop(path) for path in (given.moving, given.fixed))
    forward, inverse, told = _registered(given, moving, fixed, *named)
    files.write_binary(Path(given.out), lambda file: itk.write(file, forward))
    if given.inverse:
        assert inverse is not None
        files.write_binary(Path(given.inverse), lambda file: itk.write(file, inverse))
    _write(given, forward, moving, fixed)
    folds = float((forward.jacobian(fixed.grid).data <= 0).float().mean())
    print(f"{given.out}: {told}{100 * folds:.4f} % of the voxels fold")
    return 0


def _check(given: argparse.Namespace) -> None:
    from ..execution.directories import distinct

    outputs = {name: getattr(given, name) for name in ENDINGS}
    for name, path in outputs.items():
        if path and not path.endswith(ENDINGS[name]):
            raise UsageError(path, f"this output is a {ENDINGS[name]}", f"End its name with {ENDINGS[name]}")
    labels = given.labels or (None, None)
    distinct((given.moving, given.fixed, given.model, labels[0]), (*outputs.values(), labels[1]))
    if given.labels and not given.labels[1].endswith(".nii.gz"):
        raise UsageError(given.labels[1], "images are written as .nii.gz", "End its name with .nii.gz")


def _network(given: argparse.Namespace) -> tuple[str, Any]:
    """Name of the weights and their network, or a user's mistake told as such."""
    from ...models.hippocampus import hippocampus, registration
    from ...models.networks import gradient_net, velocity_unet, zoo

    name = given.model or registration.NETWORK
    try:
        model = zoo.load(name)
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    network, of_hippocampi = model.network, model.card.get("label_table") == hippocampus.TABLE
    if not of_hippocampi or not isinstance(network, (gradient_net.GradientNet, velocity_unet.VelocityUNet)):
        raise UsageError(name, "this network does not register hippocampi", "Leave out --model")
    if isinstance(network, gradient_net.GradientNet) and (given.inverse or given.parts):
        raise UsageError(
            name, "a network of the kind pair gives neither an inverse nor parts", "Leave it out"
        )
    return name, network


def _crop(path: str) -> Volume:
    from ...models.io import conform

    return conform.read(path, least_mm=LEAST_MM)


def _registered(
    given: argparse.Namespace, moving: Volume, fixed: Volume, name: str, network: Any
) -> tuple[Warp, Warp | None, str]:
    """What resamples moving onto fixed, and back, and what is said of it."""
    from ...interfaces.io import files
    from ...models.hippocampus import hippocampus, registration
    from ...models.networks import gradient_net

    if isinstance(network, gradient_net.GradientNet):
        crops = [hippocampus.upright(one) for one in (moving, fixed)]
        return gradient_net.align(network, *crops), None, ""
    parts = [hippocampus.find(one, device=device(given)) for one in (moving, fixed)]
    try:
        found = registration.register(*parts, network=name, device=device(given))
    except InputError as error:
        raise InputError(f"{given.moving}, {given.fixed}", error.reason, error.remedy) from None
    if given.parts:
        labels = parts[0].on(moving.grid).data.numpy()
        files.write_image(Path(given.parts), labels, moving.affine, 2)
    return found.forward, found.inverse, f"parts {found.error_mm:.1f} mm apart (median) after the affine, "


def _write(given: argparse.Namespace, forward: Warp, moving: Volume, fixed: Volume) -> None:
    import numpy as np
    import torch

    from ...interfaces.io import files
    from ...models.hippocampus.registration import SMOOTHING
    from ...models.io import learn2reg
    from ...models.registration.label_transfer import carry

    if given.moved:
        data = forward.resample(moving, fixed.grid, "cubic").data.numpy()
        files.write_image(Path(given.moved), data.astype(np.float32), fixed.affine, 2)
    if given.labels:
        labels = _crop(given.labels[0])
        if labels.grid.shape != moving.grid.shape:
            raise InputError(given.labels[0], "it does not lie on the grid of MOVING", "Resample it to that")
        whole = labels.with_data(labels.data.round().to(torch.int32))
        data = carry(forward, whole, fixed.grid, SMOOTHING).data.numpy()
        kept = np.min_scalar_type(int(data.max()))
        files.write_image(Path(given.labels[1]), data.astype(kept), fixed.affine, 2)
    if given.grid:
        found = learn2reg.positions(forward, fixed.grid, moving.grid).astype(np.float32)
        files.write_binary(Path(given.grid), lambda file: np.save(file, found))
    if given.submission:
        path = Path(given.submission)
        learn2reg.write(path, forward, fixed.grid, moving.grid, every=given.every)
