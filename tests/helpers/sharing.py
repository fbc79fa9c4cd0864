"""Several runs that share one dataset, some of them killed: who did what.

As a program, ``sharing.py FOLDER ROUNDS SEED`` makes a small dataset and, in every round, starts the same
command two times at once on one output folder, with quick nodes in place of the science; in most rounds one
or both are killed (SIGKILL) at a random moment, and the command is started once more. It prints what happened
as JSON. Every run is a fork of this process, which has imported everything.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from brainseg.bidsapp.status import claims
from helpers import fake_chain
from helpers.forked import end, start

COUNT = 5
"""Number of participants."""


class Round:
    """One output folder and the runs into it."""

    def __init__(self, folder: Path, bids: Path, lease: bool) -> None:
        self.out, self.work, self.bids, self.lease = folder / "out", folder / "work", bids, lease
        self.calls, self.said = folder / "calls", folder / "said.txt"
        for path in (self.out, self.work, self.calls):
            shutil.rmtree(path, ignore_errors=True)
        self.said.unlink(missing_ok=True)
        self.calls.mkdir(parents=True)
        self.runs: list[int] = []
        self.keys = [path.name for path in sorted(bids.glob("sub-*"))]

    def start(self) -> None:
        """Start the command once more."""
        name = self.calls / str(len(self.runs))

        def prepare() -> None:
            os.environ["FAKE_CALLS"] = str(name)
            if self.lease:
                claims.shared_locks = lambda folder: False
                claims.only_here = lambda folder: True

        argv = [str(self.bids), str(self.out), "participant", "--work-dir", str(self.work)]
        argv += ["--plugin", "linear", "--device", "cpu", "--skip-bids-validation"]
        self.runs.append(start(argv, self.said, prepare))

    def touched(self, run: int) -> list[str]:
        """The participants that a run has begun, in its order."""
        path = self.calls / str(run)
        lines = path.read_text().splitlines() if path.exists() else []
        return list(dict.fromkeys(line.split()[0] for line in lines))

    def states(self) -> dict[str, str]:
        """State of every participant by its status file."""
        folder = self.out / "logs" / "status"
        return {path.stem: json.loads(path.read_text())["state"] for path in folder.glob("*.json")}


def play(round: Round, kills: list[tuple[int, float]]) -> dict:
    """Two runs at once, those that are killed, and one more; ``kills`` has the run and the moment (s)."""
    began = time.monotonic()
    round.start()
    round.start()
    in_flight: list[str] = []
    running_when_killed: list[str] = []
    codes: dict[int, int] = {}
    for number, moment in kills:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        os.kill(round.runs[number], signal.SIGKILL)
        codes[number] = end(round.runs[number])
        last = round.touched(number)[-1:]
        in_flight += [key for key in last if codes[number] < 0]
        running_when_killed += [
            key
            for key, state in round.states().items()
            if state == "running" and claims.holder(round.out, key) is None
        ]
    running = sorted(set(range(2)) - set(codes))
    if kills:
        round.start()
        running.append(2)
    codes |= {number: end(round.runs[number]) for number in running}
    said = round.said.read_text()
    return {
        "codes": codes,
        "kills": kills,
        "states": round.states(),
        "begun": {key: sum(key in round.touched(n) for n in range(len(round.runs))) for key in round.keys},
        "done": {key: said.count(f"{key}  done in") for key in round.keys},
        "in_flight": in_flight,
        "running_when_killed": running_when_killed,
        "told": [key for key in round.keys if any(f"{key}  Its run" in x for x in said.splitlines())],
        "left": [str(path) for path in (round.out / "logs" / "status").glob(".*")],
        "seconds": time.monotonic() - began,
        "said": said,
    }


def main(folder: Path, rounds: int, seed: int) -> list[dict]:
    """Play the rounds; every second one as if the file system had no locks."""
    import bids  # noqa: F401

    import brainseg.bidsapp.execution.run  # noqa: F401
    from brainseg.bidsapp.execution import workflow

    fake_chain.install()
    workflow.POLL = 0.01
    os.environ["FAKE_CHAIN"] = json.dumps({})
    dataset = fake_chain.dataset(folder / "bids", [f"sub-{n + 1:02d}" for n in range(COUNT)])
    chance = random.Random(seed)
    results = [play(Round(folder, dataset, False), [])]
    whole = results[0]["seconds"]
    for number in range(1, rounds):
        kills = [(run, chance.uniform(0.1, 1.0) * whole) for run in range(chance.choice([0, 1, 1, 2]))]
        kills.sort(key=lambda kill: kill[1])
        results.append(play(Round(folder, dataset, bool(number % 2)), kills))
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
