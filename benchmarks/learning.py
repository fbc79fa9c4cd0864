"""How a training went: what a network's scores were after so many steps.

``python benchmarks/learning.py NAME=FOLDER[,FOLDER...] [...] [--out benchmarks/README.md]`` where FOLDER is
what ``brainseg train --out`` was given; its ``log.jsonl`` has the losses and the scores on label maps that
never trained. Of several the later ones began from the weights of the one before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import tables


def curve(folders: Sequence[Path]) -> list[list[object]]:
    """Steps, hours, loss and score of every validation, all trainings in a row."""
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
    parser.add_argument("--out", type=Path, help="page that gets the tables, between its markers")
    args = parser.parse_args(argv)
    for run in args.runs:
        name, _, listed = run.partition("=")
        folders = [Path(folder) for folder in listed.split(",")]
        if not all((folder / "log.jsonl").is_file() for folder in folders):
            raise SystemExit(f"{run}: there is no log.jsonl in that folder; give NAME=FOLDER")
        header = [f"{name}: steps", "hours", "loss", "Dice, maps that never trained"]
        rows = [[str(row[0]), *row[1:]] for row in curve(folders)]
        text = f"{tables.markdown(header, rows)}\n\n{tables.stamp()}"
        print(text)
        if args.out:
            tables.put(args.out, f"learning {name}", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
