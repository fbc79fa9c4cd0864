"""Score structures and brain masks of synthetic whole heads of held-out maps, by contrast.

``python benchmarks/synthetic_heads.py HEADS [--out benchmarks/README.md]`` where HEADS is a folder of label
maps or the arrays of ``brainseg train prepare``. Contrasts are drawn with fixed seeds: named ones, random
means for every class (unseen in training), and T1w upside down. Heads have their skull, whose tissues look
as in scanners in the named contrasts; the same heads with random intensities outside the brain, where a vein
or marrow can look like cortex, have rows of their own. Structures are scored in the mask of the program.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tables
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.training.calibration.qc_norms import sided
from brainseg.training.data import prepare
from brainseg.training.evaluation.metrics import agreement, dice_by_class
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.contrast import LEVELS
from brainseg.training.synthesis.generator import HeadGenerator

SHAPE, CENTER = (208, 272, 272), (0.0, 8.0, -20.0)
LEAST = 300
"""Smallest number of voxels (1 mm) of a scored structure in the truth."""
RANDOM = ", random outside"
NATURAL = {
    "rotation": 10.0, "scaling": 0.1, "deformation": 3.0, "strip": 0.0, "crop": 0.0, "deface": 0.0,
    "lesions": 0.0, "invert": 0.0, "wide": 0.0, "known_outside": 1.0,
}  # fmt: skip
NAMED = ("T1w", "T2w", "FLAIR", "PDw")
CONTRASTS = {
    **{name: {"contrasts": {name: 1.0}} for name in NAMED},
    "T1w upside down": {"contrasts": {"T1w": 1.0}, "invert": 1.0, "known_outside": 0.0},
    "random": {"contrasts": {"random": 1.0}},
    "random, 5 mm slices": {"contrasts": {"random": 1.0}, "low_resolution": 1.0, "slice_thickness": 5.0},
    **{f"{name}{RANDOM}": {"contrasts": {name: 1.0}, "known_outside": 0.0} for name in NAMED},
}


def head(heads: Path, contrast: str, number: int) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Return a synthetic scan, its structures and its brain mask."""
    torch.manual_seed(1000 * list(CONTRASTS).index(contrast.removesuffix(RANDOM)) + number)
    generator = HeadGenerator(heads, GeneratorConfig(**(NATURAL | CONTRASTS[contrast])))
    draw = generator.draw(number)
    # The background is air in every contrast.
    draw.contrast.means[:LEVELS] = 0
    draw.contrast.deviations[:LEVELS] = 3
    rendered = generator.render(draw, CENTER, SHAPE, 1.0)
    affine = np.eye(4)
    affine[:3, 3] = np.array(CENTER) - (np.array(SHAPE) - 1) / 2
    structures = sided(generator.source, rendered.labels.numpy(), draw.mirrored)
    return Volume(rendered.image * 255, affine), structures, rendered.distance.numpy() > 0


def measure(heads: Path, contrast: str, number: int, surfaces: bool) -> dict[str, float]:
    """Return the scores of one head."""
    scan, structures, brain = head(heads, contrast, number)
    done = process.process(scan)
    mask, found = done.brain.mask, done.segmentation.structures.data
    overlap = agreement(brain, mask.data.numpy() > 0, surfaces=surfaces)
    table = labels.load("adult")
    # Fluid around the brain is not scored: definitions of its border differ.
    truth = torch.from_numpy(np.where(structures == 24, 0, structures))
    dice = dice_by_class(torch.where(found == 24, 0, found), truth, least=LEAST)
    named = {table[k].name: v for k, v in dice.items()}
    return {
        "mask": overlap.dice,
        "hd95": overlap.hd95_mm,
        "structures": float(np.mean(list(dice.values()))),
    } | {"lowest": min(named.values())}


def report(scores: dict[str, list[dict[str, float]]]) -> str:
    """Return the table by contrast."""
    every = [one for name, found in scores.items() if not name.endswith(RANDOM) for one in found]
    rows = []
    for name, found in [*scores.items(), ("**all**", every)]:
        column = {k: [one[k] for one in found] for k in found[0]}
        rows.append(
            [name, len(found), float(np.mean(column["structures"])), min(column["structures"])]
            + [float(np.mean(column["mask"])), min(column["mask"]), max(column["hd95"])]
        )
    header = ["contrast", "heads", "structure Dice", "lowest head", "mask Dice", "lowest mask"]
    return (
        "Synthetic whole heads with skull, 1 mm, of held-out label maps; the whole pipeline. Tissue outside "
        "the brain has intensities as in scanners in the first four rows, and random ones in the others; the "
        "last four rows, which are not in the mean of all, are otherwise the heads of the first four.\n\n"
        f"{tables.markdown([*header, 'largest mask HD95 (mm)'], rows)}\n\n"
        f"{tables.stamp('head-coarse', 'skullstrip', 'segmentation')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, help="prepared arrays (.npz), or a folder of label maps")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--contrasts", nargs="+", choices=list(CONTRASTS), default=list(CONTRASTS))
    parser.add_argument("--count", type=int, help="number of heads of each contrast (default: all)")
    parser.add_argument("--no-surfaces", action="store_true", help="Dice only, faster")
    args = parser.parse_args(argv)
    scores: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        heads = args.heads
        if heads.is_dir():
            heads = Path(folder) / "heads.npz"
            prepare.prepare(sorted(args.heads.glob("*.nii*")), heads)
        count = len(HeadGenerator(heads, GeneratorConfig()).maps)
        for contrast in args.contrasts:
            for number in range(min(count, args.count or count)):
                found = measure(heads, contrast, number, not args.no_surfaces)
                scores.setdefault(contrast, []).append(found)
                tables.say(f"{contrast} {number} " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
    text = report(scores)
    print(text)
    if args.out:
        tables.put(args.out, "synthetic_heads", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
