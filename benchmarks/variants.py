"""Compare ways to train the segmentation network, on the same synthetic images of held-out maps.

``python benchmarks/variants.py HEADS.npz NAME=FOLDER[,FOLDER...] [...] [--out benchmarks/README.md]`` where
HEADS are arrays of ``brainseg train prepare`` and FOLDER the output of ``brainseg train --out``, the first of
which began from the weights ``--start``, each other one from those before it. Every network makes its two
passes on the same images, rendered at half the voxel size and averaged, as scanners do; so the scores do not
depend on how a variant trained. NAME=FILE.safetensors is scored as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import tables
import torch

from brainseg.models.networks import zoo
from brainseg.training.evaluation.metrics import dice_by_class
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.kinds import registry

START = "at the beginning"
"""Name of the row of the weights from which the trainings began."""

GROUPS = {
    "T1w": {"contrasts": {"T1w": 1.0}},
    "T1w, other ventricles": {"contrasts": {"T1w": 1.0}, "ventricles": 5.0},
    "T2w": {"contrasts": {"T2w": 1.0}},
    "FLAIR": {"contrasts": {"FLAIR": 1.0}},
    "PDw": {"contrasts": {"PDw": 1.0}},
    "random": {"contrasts": {"random": 1.0}},
}
"""What differs from the last stage of the recipe, by the name of the column. 5 mm may fold narrow ventricles;
recipes allow 3."""

SEED = 11

TABLES = ("variants", "variants_longer")
"""Tables of the page: trainings of the same few minutes, and longer ones."""


def effort(paths: list[Path]) -> tuple[int, float]:
    """Return the steps and hours of the trainings in folders; zeros for a file of weights."""
    logs = [path / "log.jsonl" for path in paths if (path / "log.jsonl").is_file()]
    last = [json.loads(log.read_text().splitlines()[-1]) for log in logs]
    return sum(one["step"] for one in last), sum(one["seconds"] for one in last) / 3600


def weights_of(path: Path) -> Path:
    """Return the file of weights of a training's folder, or of a file itself."""
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(found) != 1:
        raise SystemExit(f"{path}: no file of weights; let the training end, or give a .safetensors file")
    return found[0]


@torch.inference_mode()
def scores(
    run: HeadTrainer, networks: list[torch.nn.Module], heads: Path, group: str, count: int
) -> list[float]:
    """Return the mean Dice of every network on the images of a group."""
    torch.manual_seed(SEED)
    source = run.samples(run.recipe.stages[-1] | {"finer": 2} | GROUPS[group], heads)
    found: list[list[float]] = []
    for number in range(count):
        example = source.examples(number)[0]
        row = []
        for network in networks:
            run.network = network
            dice = dice_by_class(run.forward(example)["structure"][0].argmax(1), example.targets["structure"])
            row.append(float(np.mean([value for k, value in dice.items() if k])))
        found.append(row)
    return np.mean(found, 0).tolist()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, metavar="HEADS", help="prepared arrays (.npz)")
    parser.add_argument("runs", nargs="*", metavar="NAME=FOLDER", help="trainings, or files of weights")
    parser.add_argument("--start", default="segmentation", help="weights at the beginning (shipped)")
    parser.add_argument("--count", type=int, default=8, help="images of each column (default 8)")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--table", choices=TABLES, default=TABLES[0], help="which table of the page")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if unnamed := [run for run in args.runs if "=" not in run]:
        raise SystemExit(f"{unnamed[0]}: write NAME=FOLDER")
    paths = {
        name: [Path(folder) for folder in listed.split(",")]
        for name, _, listed in (run.partition("=") for run in args.runs)
    }
    recipe = registry.read("segmentation", {"start": None, "loggers": []})
    with tempfile.TemporaryDirectory() as folder:
        run = HeadTrainer(recipe, args.heads, Path(folder))
        files = {START: args.start} | {name: str(weights_of(every[-1])) for name, every in paths.items()}
        networks = [zoo.load(file).network.eval() for file in files.values()]
        columns = []
        for group in GROUPS:
            columns.append(scores(run, networks, args.heads, group, args.count))
            tables.say(f"{group}: {dict(zip(files, np.round(columns[-1], 4), strict=True))}")
    rows = []
    for name, row in zip(files, np.transpose(columns), strict=True):
        steps, hours = effort(paths[name]) if name in paths else (0, 0.0)
        mean = float(row.mean())
        base = float(rows[0][4]) if rows else mean
        gain = 100 * (mean - base) / hours if hours else float("nan")
        rows.append([name, steps, round(60 * hours), f"{gain:.2f}" if hours else "–", mean, *row.tolist()])
    header = ["training", "steps", "minutes", "gain an hour (x 100)", "mean", *GROUPS]
    table = tables.markdown(header, rows, 4)
    text = f"{args.count} images of each column.\n\n{table}\n\n{tables.stamp(args.start)}"
    print(text)
    if args.out:
        tables.put(args.out, args.table, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
