"""Score brain masks of synthetic whole heads against the label maps of the heads.

``python benchmarks/brain_mask.py HEADS [--out benchmarks/README.md]`` where HEADS is an ``.npz`` of
``brainseg train prepare``, or a folder of whole-head label maps, all held out from training.

Every map is rendered at 1 mm with its skull in every contrast, with a fixed seed, and skull-stripped by
``brainseg.models.segmentation.skullstrip``. The truth is brain tissue and ventricles closed by 4 mm, as in
training, so it includes the sulci. For comparison with other definitions, the table also has Dice against
tissue and ventricles without closing, and against these with all fluid around them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tables
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.distance import closed
from brainseg.models.geometry.volume import Volume
from brainseg.models.segmentation import skullstrip
from brainseg.training.data import prepare
from brainseg.training.evaluation.metrics import agreement
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw", "random")
SHAPE, CENTER = (208, 272, 272), (0.0, 8.0, -20.0)
FLUID = 24
NATURAL = {"rotation": 10.0, "scaling": 0.1, "deformation": 3.0, "strip": 0.0, "crop": 0.0}


def rendered(heads: Path, contrast: str, number: int) -> tuple[Volume, dict[str, np.ndarray]]:
    """Return a synthetic scan and its masks by definition."""
    torch.manual_seed(1000 * CONTRASTS.index(contrast) + number)
    generator = HeadGenerator(heads, GeneratorConfig(contrasts={contrast: 1.0}, **NATURAL))
    head = generator.render(generator.draw(number), CENTER, SHAPE, 1.0)
    affine = np.eye(4)
    affine[:3, 3] = np.array(CENTER) - (np.array(SHAPE) - 1) / 2
    position = head.labels.numpy()
    tissue = generator.source.tissue[position]
    return Volume(head.image, affine), {
        "closed": closed(tissue),
        "tissue": tissue,
        "with fluid": tissue | (generator.source.values[position] == FLUID),
    }


def score(heads: Path, contrast: str, number: int, surfaces: bool) -> dict[str, float]:
    """Return Dice by definition, and the surface distance to the closed mask."""
    scan, truth = rendered(heads, contrast, number)
    try:
        mask = skullstrip.skullstrip(scan, mode="auto").mask.data.numpy() > 0
    except InputError:  # no brain was found: Dice is zero
        return {"closed": 0.0, "hd95_mm": float("nan"), "tissue": 0.0, "with fluid": 0.0}
    main = agreement(truth["closed"], mask, surfaces=surfaces)
    return {
        "closed": main.dice,
        "hd95_mm": main.hd95_mm,
        "tissue": agreement(truth["tissue"], mask, surfaces=False).dice,
        "with fluid": agreement(truth["with fluid"], mask, surfaces=False).dice,
    }


def report(scores: dict[str, list[dict[str, float]]]) -> str:
    """Return the table by contrast."""
    columns = ("closed", "hd95_mm", "tissue", "with fluid")
    rows = []
    every = [one for found in scores.values() for one in found]
    for name, found in [*scores.items(), ("**all**", every)]:
        lowest = min(one["closed"] for one in found)
        first, *others = (float(np.nanmean([one[c] for one in found])) for c in columns)
        rows.append([name, len(found), first, lowest, *others])
    header = [
        "contrast",
        "heads",
        "Dice",
        "lowest",
        "HD95 (mm)",
        "Dice, tissue unclosed",
        "Dice, with all fluid",
    ]
    return (
        "Brain masks of synthetic whole heads at 1 mm, held-out label maps.\n\n"
        f"{tables.markdown(header, rows)}\n\n{tables.stamp('head-coarse', 'skullstrip')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, help="prepared arrays (.npz), or a folder of label maps")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--contrasts", nargs="+", choices=CONTRASTS, default=CONTRASTS)
    parser.add_argument("--no-surfaces", action="store_true", help="Dice only, faster")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        heads = args.heads
        if heads.is_dir():
            heads = Path(folder) / "heads.npz"
            prepare.prepare(sorted(args.heads.glob("*.nii*")), heads)
        count = len(HeadGenerator(heads, GeneratorConfig()).maps)
        scores: dict[str, list[dict[str, float]]] = {}
        for contrast in args.contrasts:
            for number in range(count):
                found = score(heads, contrast, number, not args.no_surfaces)
                scores.setdefault(contrast, []).append(found)
                tables.say(f"{contrast} {number} " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
    text = report(scores)
    print(text)
    if args.out:
        tables.put(args.out, "brain_mask", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
