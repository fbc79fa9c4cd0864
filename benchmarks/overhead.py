"""Measure the overhead of the command: start, dataset, graph, status, report and end.

``python benchmarks/overhead.py [--out benchmarks/README.md]`` runs the real command, the real graph and the
real nodes on a small scan in one process, with networks, bias correction and registration replaced by stubs.
It reports CPU time, which depends less than wall time on other work on the machine. The time of ``--help``
is measured in the same way.
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
    """Run the command on one participant with stubs for the science; called in a separate process."""
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
    """Return the CPU time (s) of a process and its children, and its output."""
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
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
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
    text += f"\n\nThe report takes {stages.get('report', 0):.1f} s of this (wall time)."
    print(text)
    if args.out:
        tables.put(args.out, "overhead", text + "\n\n" + tables.stamp())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
