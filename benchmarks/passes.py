"""Measure the gain of further passes of the segmentation network, on synthetic images of held-out maps.

``python benchmarks/passes.py HEADS.npz [--out benchmarks/README.md]`` where HEADS are arrays of
``brainseg train prepare``. The prior of the first pass are the posteriors of the coarse network; the prior
of the second pass are those of the first. The next column is the mean of the second pass on the image and its
mirror image, as the program does it; the last one is a third pass instead.
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
from brainseg.training.core.example import Example
from brainseg.training.evaluation.metrics import dice_by_class
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.kinds import registry

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw", "random")
SEED = 5


@torch.inference_mode()
def scores(run: HeadTrainer, heads: Path, contrast: str, count: int) -> list[list[float]]:
    """Return Dice (mean over structures) of every head: coarse network, then the passes."""
    stage = run.recipe.stages[-1] | {"contrasts": {contrast: 1.0}}
    torch.manual_seed(SEED)
    source = run.samples(stage, heads)
    found = []
    for number in range(count):
        example = source.examples(number)[0]
        truth = example.targets["structure"]
        posteriors = [torch.nn.functional.interpolate(example.prior, scale_factor=2, mode="trilinear")]
        posteriors.append(_posteriors(run, example))
        second = replace(example, prior=as_prior(posteriors[-1]))
        posteriors.append(_posteriors(run, second))
        other = _posteriors(run, _mirrored(second)).flip(2)
        third = replace(example, prior=as_prior(posteriors[-1]))
        posteriors += [(posteriors[-1] + other) / 2, _posteriors(run, third)]
        found.append([_mean(dice_by_class(p.argmax(1), truth)) for p in posteriors])
    return found


def _posteriors(run: HeadTrainer, example: Example) -> torch.Tensor:
    return run.forward(example)["structure"][0].float().softmax(1)


def _mirrored(example: Example) -> Example:
    """Return the mirror image: the channel after the image, the first coordinate, changes its sign."""
    x = example.x.flip(2).clone()
    x[:, 1] *= -1
    return replace(example, x=x, prior=example.prior.flip(2))


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
    header = [
        "contrast",
        "heads",
        "coarse network",
        "first pass",
        "second pass",
        "and mirror image",
        "third pass",
    ]
    text = f"{tables.markdown(header, rows)}\n\n{tables.stamp('head-coarse', 'segmentation')}"
    print(text)
    if args.out:
        tables.put(args.out, "passes", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
