"""``brainseg synth sample``: draw images of brains by latent diffusion, as a BIDS folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ...interfaces.io import files
from ...models.data import model_files
from ...models.errors import MissingFileError, UsageError
from ...models.networks import purpose, zoo
from ...models.networks.generative.latent_diffusion import LatentDiffusion
from .. import __version__
from .compute import device, set_threads

DARKEST = 0.02
"""Values below are background: the networks never draw an exact zero."""

UNIT = 1000
"""Stored value of the brightest tissue."""


def run(args: argparse.Namespace) -> int:
    """Draw images; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg synth sample``.

    Raises
    ------
    UsageError
        If the network draws no images, or a number is impossible.
    MissingFileError
        If there is no such network.
    """
    if args.count < 1 or args.steps < 2:
        raise UsageError(
            None, f"--count {args.count} --steps {args.steps}", "Give 1 or more images, 2 or more steps"
        )
    try:
        card = purpose.check(args.network, "synthesis")
        loaded = zoo.load(args.network)
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "Train one: brainseg train latent-diffusion") from None
    set_threads(args)
    network, out = cast(LatentDiffusion, loaded.network.to(device(args))), Path(args.out)
    affine = np.diag([*[float(card["spacing"])] * 3, 1.0])
    affine[:3, 3] = -(np.array(card["shape"]) - 1) * float(card["spacing"]) / 2
    for number in range(args.seed, args.seed + args.count):
        torch.manual_seed(number)
        image = network.sample(card["shape"], args.steps)[0].cpu().numpy()
        values = np.where(image > DARKEST, np.rint(image * UNIT), 0).clip(0, 2 * UNIT).astype(np.int16)
        name = f"sub-synth{number:04d}"
        path = out / name / "anat" / f"{name}_{args.suffix}.nii.gz"
        files.write_image(path, values, affine)
        about = {"Synthetic": True, "Network": card["name"], "NetworkSHA256": card["sha256"], "Seed": number}
        files.write_json(path.with_name(f"{name}_{args.suffix}.json"), about)
        print(path, flush=True)
    _describe(out, card)
    return 0


def _describe(out: Path, card: dict) -> None:
    """Write what the folder holds."""
    content = {
        "Name": f"Images drawn by {card['name']}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": str(card.get("license")),
        "GeneratedBy": [{"Name": "brainseg-bids", "Version": __version__}],
    }
    files.write_json(out / "dataset_description.json", content)
    said = (
        f"Images of brains that the network {card['name']} drew; no person was scanned.\n\n"
        f"Training data: {card.get('training_data')}. License: {card.get('license')}. A network of few "
        "images draws copies of them: the images are to be treated as its training data are.\n"
    )
    files.write_text(out / "README", said)
