"""Participants an hour: several at once, as a run on two cores takes them, and a simulation for more cores.

``python benchmarks/throughput.py IMAGE [--count 6] [--out benchmarks/README.md]`` copies IMAGE to a dataset
of that many participants and runs the real command on it, with one thread in every step and with as many as
cores.

The simulation has the order of the scheduler (the first participants first; a stage begins when the stages
before it are done and a core is free) and the times of the stages as measured with one thread. It knows
nothing of the memory's bandwidth, so it is an upper limit.
"""

from __future__ import annotations

import argparse
import heapq
import json
import shutil
import tempfile
from pathlib import Path

import stages
import tables

AFTER = {
    "conform": (),
    "skullstrip": ("conform",),
    "bias": ("skullstrip",),
    "segmentation": ("bias",),
    "registration": ("segmentation",),
    "quality": ("registration",),
    "parcellation": ("registration",),
    "outputs": ("registration", "parcellation"),
    "report": ("quality", "outputs"),
}
"""Stages that each stage waits for."""

SIMULATED = (2, 4, 8, 16)


def simulate(seconds: dict[str, float], cores: int, count: int) -> float:
    """Return the time (s) that participants take on some cores, one thread in every step.

    Parameters
    ----------
    seconds : dict of str to float
        Time of every stage; stages without one are left out.
    cores, count : int
        Cores and participants.

    Examples
    --------
    >>> simulate({"conform": 1.0, "skullstrip": 2.0}, cores=2, count=3)
    6.0
    >>> simulate({"registration": 1.0, "quality": 2.0, "outputs": 3.0, "report": 1.0}, cores=2, count=1)
    5.0
    """
    waits = {
        (number, stage): {(number, before) for before in AFTER[stage] if before in seconds}
        for number in range(count)
        for stage in AFTER
        if stage in seconds
    }
    running: list[tuple[float, tuple[int, str]]] = []
    now = 0.0
    while waits or running:
        ready = sorted(job for job, before in waits.items() if not before)
        for job in ready[: cores - len(running)]:
            del waits[job]
            heapq.heappush(running, (now + seconds[job[1]], job))
        now, done = heapq.heappop(running)
        for before in waits.values():
            before.discard(done)
    return now


def measure(image: Path, count: int, cores: int, threads: int) -> tuple[stages.Use, dict[str, float]]:
    """Run the command on several participants; return resources and the mean time of every stage."""
    with tempfile.TemporaryDirectory(prefix="brainseg-") as folder:
        place = Path(folder)
        bids, out = stages.dataset(image, place / "bids"), place / "out"
        first = next((bids / "sub-01" / "anat").glob("sub-01_*"))
        for number in range(2, count + 1):
            name = f"sub-{number:02}"
            anat = bids / name / "anat"
            anat.mkdir(parents=True)
            shutil.copyfile(first, anat / first.name.replace("sub-01", name))
        extra = ["--omp-nthreads", str(threads)]
        used = stages.run_in(place, bids, out, cores, extra)
        status = [
            json.loads(path.read_text())["seconds"] for path in (out / "logs" / "status").glob("*.json")
        ]
        mean = {name: sum(one.get(name, 0.0) for one in status) / len(status) for name in status[0]}
        return stages.total(used), mean


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="a scan, NIfTI")
    parser.add_argument("--count", type=int, default=6, help="participants")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    rows, seconds = [], {}
    for threads in sorted({1, args.cores}):
        use, found = measure(args.image, args.count, args.cores, threads)
        seconds = seconds or found
        an_hour = 3600 * args.count / use.wall
        memory = f"{use.peak / stages.GIB:.1f}"
        rows.append([f"{args.cores}, measured", threads, an_hour, use.cpu / args.count, memory])
    for cores in SIMULATED:
        count = 20 * cores
        an_hour = 3600 * count / simulate(seconds, cores, count)
        rows.append([f"{cores}, simulated", 1, an_hour, "–", "–"])
    columns = ["cores", "threads of a step", "participants an hour", "CPU (s) each", "peak memory (GiB)"]
    text = f"{args.count} participants of one size in one run, default options.\n\n"
    text += tables.markdown(columns, rows, digits=1) + "\n\n"
    text += tables.stamp("head-coarse", "skullstrip", "segmentation")
    print(text)
    if args.out:
        tables.put(args.out, "throughput", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
