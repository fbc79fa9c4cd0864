"""Show the progress of a training: the scores of a network by steps.

``python benchmarks/learning.py NAME=FOLDER[,FOLDER...] [...] [--out benchmarks/README.md]`` where FOLDER is
the output of ``brainseg train --out``; its ``log.jsonl`` has the losses and the scores on held-out label
maps. Of several folders, each continues from the weights of the one before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import tables


def curve(folders: Sequence[Path]) -> list[list[object]]:
    """Return steps, hours, loss and score of every validation, in order."""
    rows = []
    steps, seconds = 0, 0.0
    for folder in folders:
        records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for record in records:
            if scores := record["scores"]:
                score = scores.get("mean", scores.get("mask", float("nan")))
                hours = (seconds + record["seconds"]) / 3600
                rows.append([steps + record["step"], hours, sum(record["loss"].values()), score])
        steps, seconds = steps + records[-1]["step"], seconds + records[-1]["seconds"]
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER[,FOLDER...]", help="trainings")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    args = parser.parse_args(argv)
    for run in args.runs:
        name, _, listed = run.partition("=")
        folders = [Path(folder) for folder in listed.split(",")]
        if not all((folder / "log.jsonl").is_file() for folder in folders):
            raise SystemExit(f"{run}: no log.jsonl in the folder; give NAME=FOLDER")
        header = [f"{name}: steps", "hours", "loss", "Dice, held-out maps"]
        rows = [[str(row[0]), *row[1:]] for row in curve(folders)]
        text = f"{tables.markdown(header, rows)}\n\n{tables.stamp()}"
        print(text)
        if args.out:
            tables.put(args.out, f"learning {name}", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
