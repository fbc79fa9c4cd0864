"""Score the four variants of the registration network of Estienne et al. on held-out hippocampi.

``python benchmarks/hippocampus_variants.py DATA NAME=FILE ... [--out benchmarks/README.md]``, DATA as for
``hippocampus.py``, and networks that ``brainseg train hippocampus-gradients...`` made. Every case of the test
split is registered to the next one by name, both as Learn2Reg scores them. The published figures are those of
600 epochs on a graphics card, on another split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tables
import torch
from hippocampus import PAIRS, middles, score

from brainseg.models.geometry.volume import Volume
from brainseg.models.hippocampus import hippocampus
from brainseg.models.hippocampus.hippocampus import Parts
from brainseg.models.networks import gradient_net, zoo
from brainseg.training.hippocampus import generator as data
from brainseg.training.hippocampus import prepare

PUBLISHED = {
    "unregistered": (0.55, 0.36, 3.91),
    "baseline": (0.796, 0.777, 2.12),
    "symmetric": (0.830, 0.818, 1.68),
    "pretrained": (0.839, 0.827, 1.63),
    "merged": (0.85, 0.84, 1.51),
}
"""Dice, Dice30 and HD95 (mm) that the authors report: validation, of the last one test."""


def image_alone(scan: Volume) -> Parts:
    """Return an image whose parts are not needed."""
    empty = scan.with_data(torch.zeros(2, *scan.grid.shape))
    return Parts(scan, empty, scan.with_data(torch.ones(scan.grid.shape)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images and labels")
    parser.add_argument("networks", nargs="+", metavar="NAME=FILE", help="networks of the kind pair")
    parser.add_argument("--count", type=int, help="number of cases (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--out", type=Path, help="page that gets the table, between its markers")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    found = data.cases(args.data)
    names = data.split(list(found))["test"][: args.count]
    read = [prepare.read(*found[name]) for name in names]
    cases = [(image_alone(scan), scan, truth) for scan, truth in read]
    pairs = list(PAIRS["consecutive"](list(range(len(cases)))))
    rows = [_row("unregistered", score(cases, pairs, lambda a, b: middles(a[0], b[0]), None), None)]
    for text in args.networks:
        name, _, file = text.partition("=")
        model = zoo.load(file)
        tables.say(name)
        result = score(
            cases,
            pairs,
            lambda a, b, network=model.network: gradient_net.align(
                network, hippocampus.upright(a[1]), hippocampus.upright(b[1])
            ),
            None,
        )
        rows.append(_row(name, result, model.card))
    header = ["variant", "channels", "steps", "minutes trained", "Dice", "Dice30", "HD95 (mm)", "sd of log J"]
    header += ["folds (%)", "Dice, published", "Dice30, published", "HD95, published (mm)"]
    text = (
        f"{len(pairs)} pairs of the {len(cases)} cases of the test split, labels by nearest neighbor. "
        "Minutes are those of one CPU core. The authors trained more channels (32 to 512) for 600 epochs on "
        "a graphics card: these rows show that the recipes work, not what the variants can do.\n\n"
        f"{tables.markdown(header, rows)}\n\n{tables.stamp()}"
    )
    print(text)
    if args.out:
        tables.put(args.out, "hippocampus_variants", text)
    return 0


def _row(name: str, found: dict, card: dict | None) -> list:
    """Return the cells of a variant."""
    about: list = ["–", "–", "–"]
    if card is not None:
        channels = card["architecture"]["arguments"]["channels"]
        about = ["-".join(map(str, channels)), int(card["steps"]), f"{60 * card['hours']:.1f}"]
    dice, dice30, _, hd95, spread, folds, _ = found.values()
    published = PUBLISHED.get(name, (float("nan"),) * 3)
    return [name, *about, dice, dice30, hd95, spread, 100 * folds, *published]


if __name__ == "__main__":
    raise SystemExit(main())
