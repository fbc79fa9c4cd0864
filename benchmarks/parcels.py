"""Scan one head twice: do the parcels of an atlas stay where they are, and do they agree with references?

``python benchmarks/parcels.py [HEADS] [--count 2] [--manual DATA] [--freesurfer DATA] [--out PAGE]`` where
HEADS is a folder of held-out whole-head label maps, or the arrays of ``brainseg train prepare``; the others
are as for ``adult_manual.py`` and ``real_heads.py``, with FreeSurfer's ``sub-*_aparc.DKTatlas+aseg.mgz``.

The anatomy of a head is drawn once. Its T1w scan is drawn twice, with other intensities, noise and bias, on a
grid that is moved by some millimeters. Both go through the whole pipeline, and their parcels are compared in
the mm of the head.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import parcel_overlap
import tables
import torch
from synthetic_heads import CENTER, SHAPE

from brainseg.models.geometry.volume import Volume, resample
from brainseg.models.parcellation import atlas as atlases
from brainseg.models.parcellation import carry, names
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.models.registration import reference, registration
from brainseg.models.registration.reference import anatomy
from brainseg.training.calibration.qc_norms import MILD
from brainseg.training.data import prepare
from brainseg.training.synthesis.acquisition import draw_acquisition
from brainseg.training.synthesis.contrast import LEVELS, draw_contrast
from brainseg.training.synthesis.generator import HeadGenerator

MOVED = (3.0, -2.0, 5.0)
"""Shift (mm) of the grid of the second scan: whole voxels, so that nothing is interpolated to compare."""


def scans(heads: Path, number: int) -> list[Volume]:
    """Return two T1w scans of one head; tissue outside the brain is as in scanners, in both."""
    whole = {"low_resolution": 0.0, "deface": 0.0, "crop": 0.0, "invert": 0.0, "wide": 0.0}
    config = replace(MILD, **whole, rotation=10.0, known_outside=1.0)
    generator = HeadGenerator(heads, config)
    torch.manual_seed(100 + number)
    draw = generator.draw(number)
    out = []
    for time_point in (0, 1):
        torch.manual_seed(1000 * (1 + time_point) + number)
        drawn = draw_contrast(generator.source, config, generator.device, seeded=False)
        drawn.means[:LEVELS], drawn.deviations[:LEVELS] = 0, 3  # air
        center = np.array(CENTER) + time_point * np.array(MOVED)
        again = replace(draw, contrast=drawn, acquisition=draw_acquisition(config))
        rendered = generator.render(again, tuple(center.tolist()), SHAPE, 1.0)
        affine = np.eye(4)
        affine[:3, 3] = center - (np.array(SHAPE) - 1) / 2
        out.append(Volume(rendered.image * 255, affine))
    return out


def parcels(scan: Volume) -> tuple[dict[str, carry.Carried], float]:
    """Return the parcels of every shipped atlas in a scan, and the CPU time (s) of an atlas."""
    done = process.process(scan)
    found = done.segmentation
    moving = anatomy(done.corrected, done.brain.mask, found.structures, found.probabilities)
    template = reference.load(names.parse(names.shipped()[0]).space)
    back = registration.register(moving, template, network=registration.NETWORK).inverse
    out, begin = {}, time.process_time()
    for name in names.shipped():
        atlas = atlases.load(names.parse(name))
        known = atlases.places(atlas, template.structures, labels.load("adult"))
        out[name] = carry.carry(atlas, known, back, found.structures)
        carry.measure(atlas, out[name].labels, found.probabilities["GM"], {})
    return out, (time.process_time() - begin) / len(out)


def dice(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient of every label that one of two images on one grid has."""
    size = int(max(first.max(), second.max())) + 1
    both = np.bincount(first[first == second], minlength=size)
    total = np.bincount(first, minlength=size) + np.bincount(second, minlength=size)
    there = np.flatnonzero(total[1:]) + 1
    return 2 * both[there] / total[there]


def measure(heads: Path, number: int) -> list[list[object]]:
    """Return the rows of the table of one head."""
    (first, cpu), (second, _) = (parcels(scan) for scan in scans(heads, number))
    rows = []
    for name, one in first.items():
        here = one.labels.data.numpy().ravel()
        there = resample(second[name].labels, one.labels.grid, mode="nearest").data.numpy().ravel()
        found, cortex = dice(here, there), dice((here > 0).astype(int), (there > 0).astype(int))
        same = float((here == there)[(here > 0) & (there > 0)].mean())
        share = 100 * one.filled / max(int((one.labels.data > 0).sum()), 1)
        low = float(np.percentile(found, 5))
        scores = [float(found.mean()), low, float(found.min()), float(cortex[0]), same]
        rows.append([f"head {number}, {name}", *scores, share, cpu])
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "heads", type=Path, nargs="?", help="prepared arrays (.npz), or a folder of label maps"
    )
    parser.add_argument("--count", type=int, default=2, help="number of heads (default: 2)")
    parser.add_argument("--manual", type=Path, help="scans with manual labels (Neuromorphometrics)")
    parser.add_argument("--freesurfer", type=Path, help="heads with FreeSurfer's DKT labels")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    args = parser.parse_args(argv)
    if not (args.heads or args.manual or args.freesurfer):
        parser.error("give HEADS, --manual or --freesurfer")
    found = {}
    if args.heads:
        found["parcels"] = twice(args.heads, args.count)
    if args.manual:
        found["parcels manual"] = parcel_overlap.of_manual(args.manual)
    if args.freesurfer:
        with tempfile.TemporaryDirectory() as folder:
            found["parcels freesurfer"] = parcel_overlap.of_freesurfer(args.freesurfer, Path(folder))
    for name, text in found.items():
        text += f"\n\n{tables.stamp('head-coarse', 'segmentation', 'registration')}"
        print(text)
        if args.out:
            tables.put(args.out, name, text)
    return 0


def twice(heads: Path, count: int) -> str:
    """Return the table of heads that are scanned twice."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        if heads.is_dir():
            maps, heads = sorted(heads.glob("*.nii*"))[:count], Path(folder) / "heads.npz"
            prepare.prepare(maps, heads)
        for number in range(count):
            rows += measure(heads, number)
            tables.say(f"head {number}")
    header = ["head and atlas", "mean Dice", "5th percentile", "lowest", "Dice of the cortex"]
    header += ["same parcel", "voxels filled (%)", "CPU (s)"]
    about = (
        "Parcels of the shipped atlases in two synthetic T1w scans of a head, of held-out label maps: other "
        "intensities, noise and bias, on a moved grid; both through the whole pipeline. Dice of all parcels "
        "as one, the cortex, is the most that parcels can reach on average; the next column is the share of "
        "the common cortex with the same parcel. CPU time is that of one atlas."
    )
    return f"{about}\n\n{tables.markdown(header, rows)}"


if __name__ == "__main__":
    raise SystemExit(main())
