"""The commands that derive data from label maps: ``brainseg train quality``, ``template`` and ``atlas``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...models.templates import catalog
from ...training.calibration import atlas as atlas_builder
from ...training.calibration import centroids, mean_head, qc_norms, template_image
from . import recipes
from .compute import device, set_threads


def quality(args: argparse.Namespace) -> int:
    """Compute the normal ranges of quality control and calibrate it; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train quality``.
    """
    print(qc_norms.build([Path(path) for path in args.arrays], Path(args.out), heads=args.heads))
    return 0


def template(args: argparse.Namespace) -> int:
    """Segment a template and write its structures, or store its image; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train template``.
    """
    set_threads(args)
    folder, name = Path(args.folder), args.name or catalog.DEFAULT
    if args.image:
        print(template_image.write_image(Path(args.image), folder, name))
    else:
        print(centroids.write_centroids(folder, name, device(args)))
    return 0


def atlas(args: argparse.Namespace) -> int:
    """Build an atlas of the deep structures, or a mean head, from prepared label maps; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train atlas``.
    """
    set_threads(args)
    data = recipes.existing(args.data, "Make it with: brainseg train prepare OUT MAPS")
    build = mean_head.write if args.head else atlas_builder.write
    print(build(Path(args.out), data, args.description, args.license))
    return 0
