"""The commands that make training data: ``brainseg train prepare``, ``train scans``, ``synth ...``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...models.errors import InputError, UsageError
from ...models.io.folders import IMAGES, files_below
from ...training.core.recipe_check import built
from ...training.data.prepare import prepare as prepare_maps
from ...training.data.seeds import write_seeds
from ...training.evaluation.mapping import read_mapping
from ...training.fetal import preview as fetal_preview
from ...training.fetal import trainer as fetal_trainer
from ...training.heads.scan_preparation import prepare_scans
from ...training.heads.trainer import check_coarse
from ...training.hippocampus import trainer as hippocampus_trainer
from ...training.registration import trainer as registration_trainer
from ...training.registration.unlabeled import prepare as prepare_unlabeled
from ...training.synthesis import preview as head_preview
from ...training.synthesis.config import GeneratorConfig
from ...training.synthesis.generator import HeadGenerator
from . import recipes
from .compute import device, set_threads

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw")
"""Suffixes of scans."""


def prepare(args: argparse.Namespace) -> int:
    """Prepare label maps for training; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train prepare``.
    """
    maps = [Path(path) for path in args.maps]
    for path in [*maps, *(args.seeds or [])]:
        recipes.existing(path)
    seeds = [Path(path) for path in args.seeds or []]
    if seeds and len(seeds) != len(maps):
        raise UsageError(None, f"{len(seeds)} seeds for {len(maps)} maps", "Give one for each")
    prepare_maps(maps, Path(args.out), args.table, seeds)
    print(f"{args.out}: {len(maps)} maps")
    return 0


def scans(args: argparse.Namespace) -> int:
    """Prepare real scans with labels, to score a training; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train scans``.
    """
    recipe = recipes.read(args.recipe)
    if not recipe.coarse:
        raise UsageError(
            None, f"the recipe {recipe.name} is not a cascade", "Choose one, such as segmentation"
        )
    check_coarse(recipe)
    stride = int(built(recipe).stride)  # type: ignore[arg-type]
    pairs = _scans_and_labels(Path(args.folder), Path(args.images) if args.images else None)
    prepare_scans(
        pairs,
        Path(args.out),
        coarse=recipe.coarse,
        spacing=recipe.stages[-1]["spacing"],
        stride=stride,
        table=recipe.table,
        mapping=read_mapping(args.mapping) if args.mapping else None,
        own_tissues=args.own_tissues,
    )
    print(f"{args.out}: {len(pairs)} scans")
    return 0


def unlabeled(args: argparse.Namespace) -> int:
    """Prepare real scans without labels for the training of a registration; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train unlabeled``.
    """
    recipe = recipes.read(args.recipe)
    if recipe.kind not in registration_trainer.KINDS:
        raise UsageError(None, f"the recipe {recipe.name} is no registration", "Choose registration")
    scans = [recipes.existing(path) for path in args.scans]
    set_threads(args)
    stage = recipe.stages[-1]
    prepare_unlabeled(scans, Path(args.out), stage["shape"], stage["spacing"])
    print(f"{args.out}: {len(scans)} scans")
    return 0


def _scans_and_labels(folder: Path, images_in: Path | None = None) -> list[tuple[str, Path, Path]]:
    """Return subject, scan and labels of every label image in a folder."""
    found = []
    for labels in files_below(folder, "*_dseg.nii", "*_dseg.nii.gz"):
        subject = labels.name.split("_")[0]
        patterns = [f"{subject}_{name}" for name in IMAGES]
        if images_in:
            paths = files_below(images_in, *patterns)
        else:
            paths = sorted(path for pattern in patterns for path in labels.parent.glob(pattern))
        images = [path for path in paths if path.name.split(".")[0].endswith(CONTRASTS)]
        if len(images) != 1:
            where = images_in or labels.parent
            raise InputError(labels, f"{len(images)} scans of {subject} in {where}", "Keep exactly one there")
        found.append((subject, images[0], labels))
    if not found:
        raise UsageError(folder, "the folder has no *_dseg.nii.gz", "Give a folder of scans with labels")
    return found


def preview(args: argparse.Namespace) -> int:
    """Draw synthetic heads or fetal brains from prepared label maps; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg synth preview``.
    """
    data, out = recipes.existing(args.data), Path(args.out)
    if args.count < 1:
        raise UsageError(None, f"--count {args.count} is not a number of samples", "Give 1 or more")
    recipe = recipes.read(args.recipe) if args.recipe else None
    set_threads(args)
    if recipe and recipe.kind in fetal_trainer.KINDS:
        source = fetal_trainer.samples(recipe, recipe.stages[-1], data, device(args))
        print(fetal_preview.write_preview(source, out, count=args.count, seed=args.seed))
        return 0
    if recipe and recipe.kind in (*hippocampus_trainer.KINDS, *hippocampus_trainer.VELOCITY_KINDS):
        remedy = "Choose a recipe of heads or of fetal brains"
        raise UsageError(None, f"the recipe {recipe.name} makes no heads", remedy)
    config = GeneratorConfig()
    if recipe:
        config = recipe.ranges(config, recipe.stages[-1])
    generator = HeadGenerator(data, config, device(args))
    print(head_preview.write_preview(generator, out, count=args.count, seed=args.seed))
    return 0


def seeds(args: argparse.Namespace) -> int:
    """Split the meta-labels of a label map by the intensities of its scan; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg synth seeds``.
    """
    image, labels = recipes.existing(args.image), recipes.existing(args.labels)
    found = write_seeds(image, labels, Path(args.out), args.table)
    print(f"{args.out}: " + ", ".join(f"meta-label {k}: {n} voxels" for k, n in found.items()))
    return 0
