"""The figures that jobs are planned with, from the table of the stages on the page of benchmarks.

``python benchmarks/estimates.py [--page PAGE] [--out bidsapp/config/measured.json]`` prints them, or writes
the file that the program reads. The part ``estimated``, which no table has, is kept as it is.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, FILE = ROOT / "benchmarks" / "README.md", ROOT / "bidsapp" / "config" / "measured.json"


def of_page(page: str) -> dict[str, Any]:
    """Return the figures of the command by stage, with date and machine, from the text of the page."""
    block = re.search(r"<!-- stages: begin.*?-->(.*?)<!-- stages: end -->", page, re.S)
    if block is None:
        raise SystemExit("the page has no table of stages: run benchmarks/stages.py first")
    head = re.search(r"One participant, (\d+)x(\d+)x(\d+) voxels of .*?, (\d+) cores", block[1])
    command = block[1].partition("The stages as library calls")[0]
    rows = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]] for line in command.splitlines() if "|" in line
    ]
    date, *others = block[1].strip().splitlines()[-1].strip("*").split("; ")
    return {
        "source": "benchmarks/README.md, time and memory by stage",
        "date": date,
        "machine": others[-1],
        "version": others[0],
        "cores": int(head[4]),
        "voxels": math.prod(map(int, head.groups()[:3])),
        "wall_seconds": float(rows[-1][1]),
        "peak_gib": float(rows[-1][-1]),
        "stage_seconds": {row[0]: float(row[2]) for row in rows[2:-1] if row[2] != "–"},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="page with the table of the stages")
    parser.add_argument("--out", type=Path, help="file whose part 'measured' is replaced")
    args = parser.parse_args(argv)
    content = json.loads((args.out or FILE).read_text(encoding="utf-8"))
    content["measured"] = of_page(args.page.read_text(encoding="utf-8"))
    text = json.dumps(content, indent=2) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
