"""Score registration of hippocampi on held-out cases: Dice, Dice30, HD95, spread of log J and folds.

``python benchmarks/hippocampus.py DATA [--network FILE] [--out benchmarks/README.md]`` where DATA has the
folders ``images`` and ``labels`` of the Medical Segmentation Decathlon's task 4. The split is that of the
training (:func:`brainseg.training.hippocampus.generator.split`). Methods were chosen on ``--split
validation``; the table is of the test split. Every case is registered to the next one by name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import tables
import torch

from brainseg.models.deformation.warp import Warp
from brainseg.models.geometry.volume import Volume
from brainseg.models.hippocampus import hippocampus, registration
from brainseg.models.hippocampus.hippocampus import Parts
from brainseg.models.networks import gradient_net, zoo
from brainseg.training.evaluation.metrics import dice_by_class
from brainseg.training.evaluation.registration import pair_scores, summary
from brainseg.training.hippocampus import generator as data
from brainseg.training.hippocampus import prepare

PAIRS: dict[str, Callable[[list], Iterator]] = {"consecutive": pairwise, "all": partial(permutations, r=2)}
PUBLISHED = ["Estienne et al., as published (their validation split)", 0.839, 0.827, float("nan"), 1.63]
"""Their best result: symmetric, with pretraining. Their spread of the Jacobian is that of log(J + 15)."""


SMOOTHING: dict[str, float] = {
    "ours, labels by their interpolated maps": 0.0,
    "**ours, labels by their smoothed maps**": registration.SMOOTHING,
}
"""Smoothing (mm) by row. The last row transfers labels as the program does, all others as Learn2Reg does,
by nearest neighbor."""


def middles(moving: Parts, fixed: Parts) -> Warp:
    """Return the translation between the centers of the boxes."""
    shift = np.eye(4)
    shift[:3, 3] = moving.image.affine[:3, 3] - fixed.image.affine[:3, 3]
    return Warp((shift,))


def ours(moving: Parts, fixed: Parts) -> Warp:
    """Return the program's registration."""
    return registration.register(moving, fixed).forward


def optimized(moving: Parts, fixed: Parts) -> Warp:
    """Return the registration without the velocity network, by the parts and the intensities."""
    return registration.register(moving, fixed, network=None).forward


def affine(moving: Parts, fixed: Parts) -> Warp:
    """Return the affine registration alone."""
    return Warp((np.linalg.inv(registration.affine(moving, fixed)[0]),))


def known(scan: Volume, truth: Volume) -> Parts:
    """Return a case with its manual labels as segmentation: the upper bound of the registration."""
    return Parts(
        scan.with_data(hippocampus.normalized(scan.data, torch.ones(scan.grid.shape, dtype=torch.bool))),
        truth.with_data(torch.stack([truth.data == part for part in (1, 2)]).float()),
        scan.with_data(torch.ones(scan.grid.shape)),
    )


def score(
    cases: list[tuple[Parts, Volume, Volume]],
    pairs: list[tuple[int, int]],
    method: Callable,
    smoothing: float | None,
) -> dict:
    """Return the scores over the pairs, and the CPU time (s) of one pair."""
    found, seconds = [], 0.0
    for moving, fixed in pairs:
        began = time.process_time()
        warp = method(cases[moving], cases[fixed])
        seconds += time.process_time() - began
        found.append(pair_scores(warp, cases[moving][2], cases[fixed][2], smoothing))
        tables.say(" ".join(f"{k} {v:.4f}" for k, v in found[-1].items()))
    return summary(found) | {"seconds": seconds / len(pairs)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images and labels")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--pairs", choices=tuple(PAIRS), default="consecutive")
    parser.add_argument("--count", type=int, help="number of cases (default: all)")
    parser.add_argument("--network", type=Path, help="weights of a network of the kind pair, as one more row")
    parser.add_argument("--out", type=Path, help="page that gets the table, between its markers")
    args = parser.parse_args(argv)
    found = data.cases(args.data)
    names = data.split(list(found))[args.split][: args.count]
    began = time.process_time()
    cases = []
    for name in names:
        scan, truth = prepare.read(*found[name])
        cases.append((hippocampus.find(scan), scan, truth))
    finding = (time.process_time() - began) / len(cases)
    pairs = list(PAIRS[args.pairs](list(range(len(cases)))))
    methods: dict[str, Callable] = {
        "unregistered": lambda a, b: middles(a[0], b[0]),
        "affine alone": lambda a, b: affine(a[0], b[0]),
        "ours": lambda a, b: ours(a[0], b[0]),
        **dict.fromkeys(SMOOTHING, lambda a, b: ours(a[0], b[0])),
        "optimized": lambda a, b: optimized(a[0], b[0]),
        "optimized, manual labels instead of the network's": lambda a, b: optimized(
            known(*a[1:]), known(*b[1:])
        ),
    }
    if args.network:
        model = zoo.load(str(args.network))
        minutes = model.card["hours"] * 60
        width = "-".join(map(str, model.card["architecture"]["arguments"]["channels"]))
        trained = f"network of Estienne et al., channels {width}, trained for {minutes:.0f} CPU minutes"
        methods[trained] = lambda a, b: gradient_net.align(
            model.network, hippocampus.upright(a[1]), hippocampus.upright(b[1])
        )
    rows: list[list] = []
    for name, method in methods.items():
        tables.say(name)
        rows.append([name, *score(cases, pairs, method, SMOOTHING.get(name)).values()])
    for row in rows:
        row[6] *= 100
    agreed = np.mean([list(dice_by_class(p.on(t.grid).data, t.data).values()) for p, _, t in cases], 0)
    header = [
        "method",
        "Dice",
        "Dice30",
        "Dice, worst 30 %",
        "HD95 (mm)",
        "sd of log J",
        "folds (%)",
        "CPU (s)",
    ]
    every = "case and the next in the order of names" if args.pairs == "consecutive" else "ordered pair"
    text = (
        f"{len(pairs)} pairs of the {len(cases)} cases of the {args.split} split: every {every}. Dice and "
        "HD95 are means over both parts; 30 % of the pairs lie below Dice30 (Learn2Reg's), and the next "
        "column is the mean of these. HD95 is Learn2Reg's, between elements of surface. The time is that of "
        f"a pair; finding the parts of one image takes {finding:.2f} s of CPU time more; they agree with the "
        f"manual ones with a Dice of {agreed[0]:.3f} (anterior) and {agreed[1]:.3f} (posterior).\n\n"
        f"{tables.markdown(header, [*rows, PUBLISHED + [float('nan')] * 3])}\n\n"
        f"{tables.stamp(hippocampus.MODEL, registration.NETWORK)}"
    )
    print(text)
    if args.out:
        tables.put(args.out, "hippocampus", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
