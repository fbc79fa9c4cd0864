"""Wall time, CPU time and peak memory of one participant by stage, on two cores.

``python benchmarks/stages.py IMAGE [--out benchmarks/README.md]`` runs the real command on a dataset of one
participant with IMAGE in a temporary folder, then the same stages as library calls in one process.

In the table of the command, the status file gives the current stage. Memory is that of all processes, pages
that they share counted once, as the limit of a job counts it; CPU time is that of all processes, sampled
every tenth of a second, three times as often as memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tables

PERIOD = 0.1
RARELY = 3
"""Samples of the CPU time for one of the memory, which takes the kernel some milliseconds."""

PRECISION = "BRAINSEG_PRECISION"
SECONDS = "BRAINSEG_NETWORK_SECONDS"
"""Environment variable with the file for the CPU time in networks; see ``watched/sitecustomize.py``."""

STATUS = Path("logs") / "status" / "sub-01.json"
BEFORE, AFTER = "start", "end"
GIB = 2.0**30


@dataclass
class Use:
    """Resources of a stage, or of all; ``networks`` is the CPU time inside of networks."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    networks: float = 0.0

    def add(self, wall: float, cpu: float, memory: float) -> None:
        """Add the resources used since the last sample."""
        self.wall, self.cpu, self.peak = self.wall + wall, self.cpu + cpu, max(self.peak, memory)


def total(used: dict[str, Use]) -> Use:
    """Return the sum of times and the largest memory."""
    uses = list(used.values())
    sums = (sum(u.wall for u in uses), sum(u.cpu for u in uses), max(u.peak for u in uses))
    return Use(*sums, sum(u.networks for u in uses))


def dataset(image: Path, folder: Path) -> Path:
    """Write a dataset of one participant with an image."""
    suffix = re.search(r"_([A-Za-z0-9]+)\.nii(\.gz)?$", image.name)
    kind = suffix[1] if suffix and suffix[1] in ("T1w", "T2w", "FLAIR", "PDw", "T2starw") else "T1w"
    anat = folder / "sub-01" / "anat"
    anat.mkdir(parents=True)
    end = ".nii.gz" if image.name.endswith(".gz") else ".nii"
    shutil.copyfile(image, anat / f"sub-01_{kind}{end}")
    (folder / "README").write_text("One participant, to measure time and memory.\n")
    content = {"Name": "one participant", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(content))
    return folder


def command(
    image: Path, cores: int, extra: list[str], precision: str = "", program: Path | None = None
) -> tuple[dict[str, Use], dict]:
    """Run the command, of this version or another, in ``float32`` or in the CPU's own precision.

    Returns
    -------
    used : dict of str to Use
        The resources of each stage.
    status : dict
        The content of the status file.
    """
    with tempfile.TemporaryDirectory(prefix="brainseg-") as folder:
        place = Path(folder)
        bids, out = dataset(image, place / "bids"), place / "out"
        used = run_in(place, bids, out, cores, extra, precision, program)
        return used, json.loads((out / STATUS).read_text())


def run_in(
    place: Path,
    bids: Path,
    out: Path,
    cores: int,
    extra: list[str],
    precision: str = "",
    program: Path | None = None,
) -> dict[str, Use]:
    """Run the command on a dataset, with the work folder in ``place``; return the resources of each stage."""
    program = program or Path(sys.executable).with_name("brainseg-bids")
    argv = [str(program), str(bids), str(out), "participant", "--nprocs", str(cores)]
    argv += ["--population", "adult", "--device", "cpu", "--work-dir", str(place / "work"), *extra]
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    seconds, watched = place / "networks.txt", Path(__file__).with_name("watched")
    paths = os.pathsep.join(filter(None, [str(watched), os.environ.get("PYTHONPATH")]))
    environment = {SECONDS: str(seconds), "PYTHONPATH": paths} | ({PRECISION: precision} if precision else {})
    with (place / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            argv,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
            env=os.environ | environment,
        )
        used = watch(process, out / STATUS)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(argv)}\nexit code {process.returncode}\n{output.read()}")
    used.setdefault(AFTER, Use()).networks = sum(map(float, seconds.read_text().split()))
    return used


def watch(process: subprocess.Popen, status: Path) -> dict[str, Use]:
    """Sample the process tree until it ends."""
    root = psutil.Process(process.pid)
    used: dict[str, Use] = {}
    spent: dict[int, float] = {}
    last = time.monotonic()
    for sample in itertools.takewhile(lambda _: process.poll() is None, itertools.count()):
        memory, cpu = 0.0, 0.0
        for one in [root, *_children(root)]:
            try:
                times = one.cpu_times()
                now = times.user + times.system
                memory += 0.0 if sample % RARELY else proportional(one.pid)
                cpu += now - spent.get(one.pid, 0.0)
                spent[one.pid] = now
            except psutil.Error:
                continue
        moment = time.monotonic()
        used.setdefault(_stage(status), Use()).add(moment - last, cpu, memory)
        last = moment
        time.sleep(PERIOD)
    return used


def proportional(process: int) -> float:
    """Return the memory (bytes) of a process, of pages that others share its part; 0 after its end."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:
        return []


def _stage(status: Path) -> str:
    try:
        content = json.loads(status.read_text())
    except (OSError, ValueError):
        return BEFORE
    if content.get("state") not in ("running", "done"):
        return BEFORE
    finished = content.get("state") == "done" and content.get("outputs", [""])[-1].endswith(".html")
    return AFTER if finished else content.get("stage") or BEFORE


def library(image: Path, cores: int) -> dict[str, Use]:
    """Run the stages as library calls in a new process; return their resources."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_library, args=(image, cores, sender))
    worker.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit("the library calls failed; see the output above") from None
    finally:
        worker.join()


def _library(image: Path, cores: int, sender) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(cores)
    used: dict[str, Use] = {}

    def timed(name, call, *args, **kwargs):
        memory, done = [0.0], threading.Event()
        thread = threading.Thread(target=_sample, args=(memory, done))
        thread.start()
        wall, cpu = time.monotonic(), _cpu()
        result = call(*args, **kwargs)
        wall, cpu = time.monotonic() - wall, _cpu() - cpu
        done.set()
        thread.join()
        used[name] = Use(wall, cpu, memory[0])
        return result

    def modules():
        import torch

        from brainseg.models.io import conform
        from brainseg.models.preprocessing import bias
        from brainseg.models.registration import linear
        from brainseg.models.segmentation import segmentation, skullstrip
        from brainseg.models.templates import bundled as templates

        torch.set_num_threads(cores)
        return conform, skullstrip, bias, segmentation, linear, templates

    conform, skullstrip, bias, segmentation, linear, templates = timed("imports", modules)
    scan = timed("conform", conform.read, image)
    brain = timed("skullstrip", skullstrip.skullstrip, scan)
    corrected, _ = timed("bias", bias.correct, scan, brain.mask)
    found = timed("segmentation", segmentation.segment, corrected, brain.mask)
    template = timed("template", templates.load)
    if template.centroids:
        timed("registration", linear.align, found.centroids, template.centroids)
    sender.send(used)


def _cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def _sample(memory: list[float], done: threading.Event) -> None:
    own = psutil.Process()
    while not done.wait(0.02):
        memory[0] = max(memory[0], own.memory_info().rss)
    memory[0] = max(memory[0], own.memory_info().rss)


def table(used: dict[str, Use], seconds: dict[str, float] | None = None) -> str:
    """Return the table of resources; ``seconds`` are the durations in the status file."""
    sums = total(used)
    rows = [
        [name, u.wall, *([seconds.get(name, float("nan"))] if seconds else []), u.cpu, u.peak / GIB]
        for name, u in used.items()
    ]
    last = [sums.wall, *([sum(seconds.values())] if seconds else []), sums.cpu, sums.peak / GIB]
    rows.append(["**all**", *(f"**{value:.1f}**" for value in last)])
    own = ["wall by the status file (s)"] if seconds else []
    return tables.markdown(["stage", "wall (s)", *own, "CPU (s)", "peak memory (GiB)"], rows, digits=1)


def comparison(compared: list[tuple[str, Use, Use]]) -> str:
    """Return the table that compares an earlier version with this one, in the same run."""
    rows = [
        [f"{name}, {precision}", old, new, f"{new / old:.2f}"]
        for precision, before, now in compared
        for name, old, new in (
            ("wall (s)", before.wall, now.wall),
            ("CPU (s)", before.cpu, now.cpu),
            ("CPU (s) outside of networks", before.cpu - before.networks, now.cpu - now.networks),
            ("peak memory (GiB)", before.peak / GIB, now.peak / GIB),
        )
    ]
    head = "An earlier version and this one, one after the other:\n\n"
    return head + tables.markdown(["", "before", "now", "ratio"], rows, digits=1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="a scan, NIfTI")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--before", type=Path, help="brainseg-bids of an earlier version, to compare with")
    parser.add_argument("--library-only", action="store_true", help="skip the command")
    parser.add_argument("extra", nargs="*", help="further arguments of brainseg-bids, after --")
    args = parser.parse_intermixed_args(argv)  # options may follow the image
    import nibabel as nib

    from brainseg.models.networks import device

    image = nib.load(args.image)
    shape = "x".join(map(str, image.shape))
    size = "x".join(f"{s:.3g}" for s in image.header.get_zooms()[:3])
    there = len(os.sched_getaffinity(0))
    if there < args.cores:
        raise SystemExit(f"this process may use {there} cores, not {args.cores}: see taskset, or --cores")
    text = f"One participant, {shape} voxels of {size} mm, {args.cores} cores."
    own = str(device.precision("cpu")).removeprefix("torch.")

    compared = []

    def measured(precision: str) -> str:
        given = (args.image, args.cores, args.extra, precision)
        before = command(*given, program=args.before)[0] if args.before else None
        used, content = command(*given)
        if before:
            compared.append((precision or own, total(before), total(used)))
        head = f"\n\nThe command `brainseg-bids BIDS OUT participant`, networks in {precision or own}:\n\n"
        return head + table(used, content["seconds"])

    if not args.library_only:
        text += measured("")
    text += "\n\nThe stages as library calls, in one process:\n\n" + table(library(args.image, args.cores))
    if not args.library_only and own != "float32":
        text += measured("float32")
    if compared:
        text += "\n\n" + comparison(compared)
    text += "\n\n" + tables.stamp("head-coarse", "skullstrip", "segmentation")
    print(text)
    if args.out:
        tables.put(args.out, "stages", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
