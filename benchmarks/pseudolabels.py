"""Compare two trainings of segmentation, with and without real scans with pseudo-labels.

``python benchmarks/pseudolabels.py DATA --data heads.npz --labeled scans.npz --folder DIR``: the recipe
``pseudo`` trains twice for the same CPU time from the same weights, without and with real scans (``brainseg
train scans`` on the output of ``brainseg pseudolabel``). Both results and the initial weights are scored on
the scans with manual labels in DATA (see ``adult_manual.py``), the network alone at its own voxel size.
Weights and scores are stored in the folder, so that a killed run continues.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import adult_manual
import numpy as np
import tables
import torch

from brainseg.models.networks import zoo
from brainseg.training.core.lightning import train
from brainseg.training.core.recipe import Recipe
from brainseg.training.evaluation import segmentation
from brainseg.training.heads.scan_preparation import prepare_scans
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.heads.validation import Scans
from brainseg.training.kinds import registry


def prepared(data: Path, folder: Path, wanted: Recipe) -> Scans:
    """Return the scans with manual labels, prepared for the network."""
    path = folder / "manual.npz"
    if not path.is_file():
        mapping = segmentation.read_mapping("neuromorphometrics")
        stride = zoo.ARCHITECTURES[wanted.network](**wanted.architecture).stride
        prepare_scans(
            adult_manual.cases(data),
            path,
            coarse=wanted.coarse,
            spacing=wanted.stages[-1]["spacing"],
            stride=stride,
            table=wanted.table,
            mapping=mapping,
        )
    return Scans(path)


def trained(wanted: Recipe, data: Path, folder: Path, labeled: Path | None) -> Path:
    """Return the weights after the CPU time of the recipe."""
    done = folder / f"{wanted.name}.safetensors"
    run = HeadTrainer(wanted, data, folder, labeled=labeled)
    if run.share < 1 or not done.is_file():
        return train(run, time.process_time)
    return done


def scores(weights: str, scans: Scans, wanted: Recipe, kept: Path) -> dict[str, float]:
    """Return Dice by structure (FreeSurfer id without side) and their mean."""
    digest = zoo.read_card(weights)["sha256"]
    if kept.is_file() and (old := json.loads(kept.read_text()))["sha256"] == digest:
        return old["scores"]
    run = HeadTrainer(registry.read("pseudo", {"start": None}), Path(), kept.parent)
    run.network.load_state_dict(zoo.load(weights).network.state_dict())
    run.network.eval()
    with torch.inference_mode():
        found = scans.scores(run)
    kept.write_text(json.dumps({"sha256": digest, "scores": found}))
    return found


def report(found: dict[str, dict[str, float]], wanted: Recipe, steps: dict[str, int], count: int) -> str:
    """The table."""
    names = {ids[0]: name for name, ids in adult_manual.HEADLINE.items()}
    names[4] += " without temporal horn"
    rows = [["**mean of them**", *(float(np.mean([s[str(k)] for k in names])) for s in found.values())]]
    rows += [[name, *(s[str(k)] for s in found.values())] for k, name in names.items()]
    listed = ", ".join(f"{n} steps {name}" for name, n in steps.items())
    return (
        f"Dice against manual labels, {count} scans, the network alone at {wanted.stages[-1]['spacing']} mm. "
        f"Each training used {wanted.minutes:g} minutes of CPU time ({listed}); a fraction of "
        f"{wanted.real:g} of the examples of the second one is real.\n\n"
        f"{tables.markdown(['structure', *found], rows, digits=4)}\n\n"
        f"{tables.stamp('head-coarse', 'segmentation')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, metavar="DATA", help="folder with a sub-* folder for every scan")
    parser.add_argument("--data", type=Path, required=True, help="from: brainseg train prepare")
    parser.add_argument("--labeled", type=Path, required=True, help="from: brainseg train scans")
    parser.add_argument("--folder", type=Path, required=True, help="folder for weights and scores")
    parser.add_argument("--minutes", type=float, help="CPU time (min) of a training (default: the recipe's)")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    changes = {"loggers": []} | ({"minutes": args.minutes} if args.minutes else {})
    wanted = registry.read("pseudo", changes)
    args.folder.mkdir(parents=True, exist_ok=True)
    manual = prepared(args.scans, args.folder, wanted)
    weights = {"at the start": wanted.start}
    variants = {"without": registry.read("pseudo", changes | {"real": 0.0}), "with": wanted}
    for name, one in variants.items():
        folder = args.folder / name
        weights[name] = str(trained(one, args.data, folder, args.labeled if one.real else None))
        tables.say(f"{name}: {zoo.read_card(weights[name])['steps']} steps")
    found = {
        name: scores(path, manual, wanted, args.folder / f"{name.replace(' ', '-')}.json")
        for name, path in weights.items()
    }
    steps = {name: zoo.read_card(weights[name])["steps"] for name in variants}
    text = report(found, wanted, steps, len(manual))
    print(text)
    if args.out:
        tables.put(args.out, "pseudolabels", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
