"""Measure the gain of a second pass of the segmentation network, on synthetic images of held-out maps.

``python benchmarks/passes.py HEADS.npz [--out benchmarks/README.md]`` where HEADS are arrays of
``brainseg train prepare``. The prior of the first pass are the posteriors of the coarse network; the prior
of the second pass are those of the first.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import tables
import torch

from brainseg.models.networks import zoo
from brainseg.models.networks.inference import as_prior
from brainseg.training.evaluation.metrics import dice_by_class
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.kinds import registry

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw", "random")
SEED = 5


@torch.inference_mode()
def scores(run: HeadTrainer, heads: Path, contrast: str, count: int) -> list[list[float]]:
    """Return Dice (mean over structures) of every head: coarse network, first and second pass."""
    stage = run.recipe.stages[-1] | {"contrasts": {contrast: 1.0}}
    torch.manual_seed(SEED)
    source = run.samples(stage, heads)
    found = []
    for number in range(count):
        example = source.examples(number)[0]
        truth = example.targets["structure"]
        posteriors = [torch.nn.functional.interpolate(example.prior, scale_factor=2, mode="trilinear")]
        for _ in range(2):
            posteriors.append(run.forward(example)["structure"][0].float().softmax(1))
            example = replace(example, prior=as_prior(posteriors[-1]))
        found.append([_mean(dice_by_class(p.argmax(1), truth)) for p in posteriors])
    return found


def _mean(dice: dict[int, float]) -> float:
    return float(np.mean([value for k, value in dice.items() if k]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, metavar="HEADS", help="prepared arrays (.npz)")
    parser.add_argument("--count", type=int, default=4, help="heads of each contrast (default 4)")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    wanted = registry.read("segmentation", {"start": None, "second_pass": 0.0, "loggers": []})
    with tempfile.TemporaryDirectory() as folder:
        run = HeadTrainer(wanted, args.heads, Path(folder))
        run.network.load_state_dict(zoo.load("segmentation").network.state_dict())
        run.network.eval()
        rows = []
        for contrast in CONTRASTS:
            mean = np.mean(scores(run, args.heads, contrast, args.count), 0)
            rows.append([contrast, str(args.count), *mean.tolist()])
            tables.say(f"{contrast} {mean.round(3).tolist()}")
    header = ["contrast", "heads", "coarse network", "first pass", "second pass"]
    text = f"{tables.markdown(header, rows)}\n\n{tables.stamp('head-coarse', 'segmentation')}"
    print(text)
    if args.out:
        tables.put(args.out, "passes", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
