"""``brainseg skullstrip``: the brain of one scan, or its mask."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from ...models.io.images import open_image
from ...models.segmentation.result import source_words
from ..execution import licenses
from . import scans


def run(args: argparse.Namespace) -> int:
    """Write a scan without its skull, or its brain mask; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg skullstrip``.
    """
    licenses.print_note(args)
    scan = scans.read(args)
    found = scans.strip(scan, args)
    inside = found.mask.data.numpy() > 0
    if args.mask:
        data = inside.astype(np.uint8)
    else:
        data = np.asarray(open_image(args.image).dataobj).reshape(inside.shape)
        data = np.where(inside & np.isfinite(data), data, np.zeros((), data.dtype))
        if data.dtype.kind not in "iu" or data.dtype.itemsize > 4:
            data = data.astype(np.float32)
    scans.write(data, scan, args)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    size = inside.sum() * found.mask.grid.voxel_volume / 1000
    print(f"{args.out}: brain of {size:.0f} mL; mask: {source_words(found.source)}")
    return 0
