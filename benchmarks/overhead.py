"""What the command costs beside the science: start, dataset, graph, status, and its end.

``python benchmarks/overhead.py [--out benchmarks/README.md]`` runs the real command, the real graph and the
real nodes on a small scan in one process, with the science itself (networks, bias correction, registration)
replaced by stand-ins of no cost, and gives the CPU time, which other work on the machine does not change as
it does the wall time. The import of the command for ``--help`` is measured in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import tables

TESTS = Path(__file__).resolve().parents[1] / "tests"
RUNS = 3


def run_once(folder: Path) -> None:
    """The command on one participant, the science stood in for; called in a process of its own."""
    sys.path.insert(0, str(TESTS))
    from brainseg.bidsapp.cli.bids import main
    from helpers import stage_results as stages

    participant_session = stages.participant_session(folder)
    stages.install(setattr)
    argv = [str(participant_session.bids), str(folder / "derivatives"), "participant", "--plugin", "linear"]
    argv += ["--device", "cpu", "--skip-bids-validation", "--registration", "none"]
    code = main([*argv, "--work-dir", str(folder / "work2"), "--population", "adult"])
    status = json.loads((folder / "derivatives" / "logs" / "status" / "sub-01.json").read_text())
    print("RESULT", json.dumps({"code": code, "seconds": status["seconds"]}))


def seconds(argv: list[str]) -> tuple[float, str]:
    """CPU seconds of a process and its children, and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="page that gets the table, between its markers")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.once:
        run_once(args.once)
        return 0
    help_ = min(seconds([sys.executable, "-m", "brainseg.bidsapp", "--help"])[0] for _ in range(RUNS))
    whole, stages = [], {}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="brainseg-") as folder:
            used, said = seconds([sys.executable, __file__, "--once", folder])
        result = json.loads(said.partition("RESULT ")[2].splitlines()[0])
        if result["code"]:
            raise SystemExit(said)
        whole.append(used)
        stages = result["seconds"]
    rows = [["`brainseg-bids --help`", help_], ["one participant without the science", min(whole)]]
    text = tables.markdown(["", "CPU (s)"], rows, digits=1)
    text += f"\n\nOf the latter {stages.get('report', 0):.1f} s wall time were the report."
    print(text)
    if args.out:
        tables.put(args.out, "overhead", text + "\n\n" + tables.stamp())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
