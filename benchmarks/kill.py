"""Kill the program at random times, restart it, and compare its results with an undisturbed run.

``python benchmarks/kill.py [--kills 20] [--minutes M] [--spacing 2.5] [--flags ...]`` makes a dataset of one
participant from the ICBM152 template. Each run of the command is killed (SIGKILL, the main process alone or
with its workers) at a random time. The same command then continues, and may be killed again, until a run
ends. Its results are compared and a new run starts, until the given number of kills or minutes is reached.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import tables

PAGE = "kill"


def derivatives(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every derivative; reports and logs, which contain times, are left out."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and not name.startswith("logs/") and not name.endswith((".html", "_facts.json")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def dataset(folder: Path, spacing: float) -> Path:
    """Write a dataset of one participant: the template on a coarser grid."""
    from nibabel.processing import resample_to_output

    from brainseg.bidsapp.demo import template_image, write_dataset

    image = resample_to_output(template_image(), (spacing,) * 3, order=1)
    data = np.rint(np.asarray(image.dataobj)).clip(0).astype(np.int16)
    return write_dataset(folder, {"01": type(image)(data, image.affine)})


def stage(out: Path) -> str:
    """Return the stage of the participant."""
    try:
        content = json.loads((out / "logs" / "status" / "sub-01.json").read_text())
    except (OSError, ValueError):
        return "start"
    return "report" if content["state"] == "done" else content["stage"] or "start"


def kill(process: subprocess.Popen, r: random.Random) -> None:
    """Kill the main process, alone or with all its children."""
    if r.random() < 0.5:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # workers notice the end of the main process


def measure(
    folder: Path, kills: int, spacing: float, flags: list[str], seed: int, minutes: float = math.inf
) -> str:
    """The table."""
    bids, out = dataset(folder / "bids", spacing), folder / "out"
    command = [sys.executable, "-m", "brainseg.bidsapp", str(bids), str(out), "participant", *flags]
    command += ["--work-dir", str(folder / "work"), "--device", "cpu", "--skip-bids-validation"]

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, cwd=folder)

    begin = time.monotonic()
    if start().wait():
        raise SystemExit("the undisturbed run failed")
    took, expected = time.monotonic() - begin, derivatives(out)
    tables.say(f"a run takes {took:.0f} s and writes {len(expected)} files")
    r, stages, rounds, same, damaged, left = random.Random(seed), Counter(), 0, 0, 0, 0
    enough = lambda: sum(stages.values()) >= kills or time.monotonic() - begin > 60 * minutes  # noqa: E731
    while not enough():
        shutil.rmtree(out)
        shutil.rmtree(folder / "work", ignore_errors=True)
        code = None
        while code is None:
            process = start()
            try:
                if enough():
                    code = process.wait()
                else:
                    code = process.wait(timeout=r.uniform(0.5, took))
            except subprocess.TimeoutExpired:
                kill(process, r)
                stages[stage(out)] += 1
                there = derivatives(out) if out.is_dir() else {}
                hidden = [name for name in there if name.rpartition("/")[2].startswith(".")]
                damaged += sum(there[n] != expected.get(n) for n in there if n not in hidden)
                tables.say(f"killed {sum(stages.values())} times, now at {stage(out)}")
        rounds += 1
        same += code == 0 and derivatives(out) == expected
        left += sum(path.name != ".bidsignore" for path in out.glob("*/**/.*"))
    where = ", ".join(f"{name} {count}" for name, count in stages.most_common())
    rows = [
        ("kills", sum(stages.values())),
        ("damaged files with a final name after a kill", damaged),
        ("runs completed by the same command", rounds),
        (f"of these with the same {len(expected)} files, byte by byte", same),
        ("partial files left at the end", left),
    ]
    return f"Killed in: {where}.\n\n{tables.markdown(['', 'count'], rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no more kills after that")
    parser.add_argument("--spacing", type=float, default=2.5, help="voxel size of the image (mm)")
    parser.add_argument(
        "--flags", nargs=argparse.REMAINDER, default=[], help="further flags of the program, last"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="brainseg-kill-") as folder:
        text = measure(Path(folder), given.kills, given.spacing, given.flags, given.seed, given.minutes)
    text += f"\n\n{tables.stamp()}"
    print(text)
    if given.out:
        tables.put(given.out, PAGE, text)


if __name__ == "__main__":
    main()
