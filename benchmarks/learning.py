"""How a training went: what a network's scores were after so many steps.

``python benchmarks/learning.py NAME=FOLDER [...] [--out benchmarks/README.md]`` where FOLDER is what
``brainseg train --out`` was given; its ``log.jsonl`` has the losses and the scores on label maps that never
trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import tables


def curve(folder: Path) -> list[list[object]]:
    """Steps, hours, loss and score of every validation."""
    rows = []
    for line in (folder / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        scores = record["scores"]
        if scores:
            score = scores.get("mean", scores.get("mask", float("nan")))
            rows.append([record["step"], record["seconds"] / 3600, sum(record["loss"].values()), score])
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="trainings")
    parser.add_argument("--out", type=Path, help="page that gets the tables, between its markers")
    args = parser.parse_args(argv)
    for run in args.runs:
        name, _, folder = run.partition("=")
        if not (Path(folder) / "log.jsonl").is_file():
            raise SystemExit(f"{run}: there is no log.jsonl in that folder; give NAME=FOLDER")
        header = [f"{name}: steps", "hours", "loss", "Dice, maps that never trained"]
        rows = [[str(row[0]), *row[1:]] for row in curve(Path(folder))]
        text = f"{tables.markdown(header, rows)}\n\n{tables.stamp()}"
        print(text)
        if args.out:
            tables.put(args.out, f"learning {name}", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
