"""Runs of the program to which bad things happen: killed, without space, several at once.

As a program, ``forked.py FOLDER JSON`` makes a dataset of blobs, runs ``brainseg-bids`` on it with stand-ins
for the science, then again as JSON says, and prints what was found as JSON: ``{"kill": 8}`` kills (SIGKILL)
at eight changes to the disk, spread over the run; ``{"space": [200000]}`` lets no file become larger;
``{"together": 3}``, which comes last, starts several runs on one output folder. Every run is a fork of this
process, which has imported everything and computed nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from brainseg.models.registration import linear, registration
from brainseg.models.templates import bundled
from helpers import stage_results

FLAGS = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def changes_disk(event: str, arguments: tuple) -> bool:
    """Whether an audit event is a change to a file or folder."""
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        return bool((isinstance(mode, str) and set(mode) & set("wax+")) or (flags and flags & FLAGS))
    return event in CHANGES


def start(argv: list[str], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Fork a process that runs the program; returns its number."""
    number = os.fork()
    if number:
        return number
    code = 99
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        prepare()
        from brainseg.bidsapp.cli.bids import main

        code = main(argv)
    finally:
        os._exit(code)


def end(number: int) -> int:
    """Wait for a fork; returns its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def counting(counter: Path, kill_at: int = 0) -> Callable[[], None]:
    """Count changes to the disk in a file, and kill the process at one of them."""

    def prepare() -> None:
        tally = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        # several threads write: each change has a number of its own, so that none of them can be passed over
        numbers = itertools.count(1)

        def watch(event: str, arguments: tuple) -> None:
            if changes_disk(event, arguments):
                number = next(numbers)
                os.pwrite(tally, f"{number:9d}".encode(), 0)
                if number == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)

    return prepare


def derivatives(out: Path) -> dict[str, str]:
    """SHA-256 of every derivative by its name; reports and logs, which tell of times, are left out."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and not name.startswith("logs/") and not name.endswith((".html", "_facts.json")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compare(expected: dict[str, str], out: Path) -> dict[str, list[str]]:
    """What is not as expected: files that differ, files that are not there, files beside their place."""
    there = derivatives(out) if out.is_dir() else {}
    beside = [n for n in there if n.rpartition("/")[2].startswith(".") and n != ".bidsignore"]
    # those of the dataset as a whole may be another process's, until they are old
    names = [path.relative_to(out).as_posix() for path in out.glob("*/**/.*")] if out.is_dir() else []
    return {
        "damaged": [n for n in there if n not in beside and there[n] != expected.get(n)],
        "missing": [n for n in expected if n not in there],
        "left": names,
    }


class Scene:
    """A dataset of blobs, its output and its work folder, and the results of a run that went well."""

    def __init__(self, folder: Path) -> None:
        self.stages = stage_results
        self.stages.install(setattr)
        registration.register = lambda moving, fixed, **_: linear.align(
            self.stages.centroids(), fixed.centroids
        )
        bundled.tissue_maps = lambda name: None
        participant_session = self.stages.participant_session(folder)
        self.bids, self.out, self.work, self.log = (
            participant_session.bids,
            participant_session.out,
            folder / "work",
            folder / "said.txt",
        )
        self.counter = folder / "count.txt"
        self.clear()
        self.code = end(start(self.argv(), self.log, counting(self.counter)))
        self.changes = int(self.counter.read_text())
        self.expected = derivatives(self.out)

    def argv(self, *more: str) -> list[str]:
        """Arguments of the program."""
        argv = [str(self.bids), str(self.out), "participant", "--work-dir", str(self.work), *more]
        return [*argv, "--plugin", "linear", "--device", "cpu", "--skip-bids-validation"]

    def clear(self) -> None:
        """Forget what runs left."""
        for folder in (self.out, self.work):
            shutil.rmtree(folder, ignore_errors=True)

    def trial(self, prepare: Callable[[], None]) -> dict:
        """A run to which something happens, and the same command once more."""
        self.clear()
        code = end(start(self.argv(), self.log, prepare))
        first = compare(self.expected, self.out)
        again = end(start(self.argv(), self.log))
        return {"code": code, "first": first, "again": again, "then": compare(self.expected, self.out)}

    def kill(self, count: int) -> list[dict]:
        """Kill at so many changes to the disk, spread over the run."""
        places = [1 + (self.changes - 1) * (2 * n + 1) // (2 * count) for n in range(count)]
        return [{"at": at} | self.trial(counting(self.counter, at)) for at in places]

    def space(self, sizes: list[int]) -> list[dict]:
        """Let no file become larger than so many bytes."""
        limit = lambda size: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
        return [{"size": size} | self.trial(limit(size)) for size in sizes]

    def together(self, count: int) -> dict:
        """Several runs at once on one output folder: one for each participant, and one for all of them."""
        for number in range(2, count + 1):
            name = f"sub-{number:02d}"
            (self.bids / name / "anat").mkdir(parents=True)
            image = self.bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
            shutil.copy(image, self.bids / name / "anat" / f"{name}_T1w.nii.gz")
        self.clear()
        alone = end(start(self.argv(), self.log))
        expected = derivatives(self.out)
        self.clear()
        labels = [["--participant-label", f"{number:02d}"] for number in range(1, count + 1)]
        running = [start(self.argv(*label), self.log) for label in [*labels, []]]
        codes = [end(number) for number in running]
        found = compare(expected, self.out)
        states = [
            json.loads(path.read_text())["state"] for path in sorted(self.out.glob("logs/status/*.json"))
        ]
        return {"alone": alone, "codes": codes, "states": states, "found": found, "work": self.work.exists()}


def main(folder: Path, wanted: dict) -> dict:
    """Do what is wanted, in its order."""
    import bids  # noqa: F401

    import brainseg.bidsapp.execution.run
    import brainseg.bidsapp.reports.drawing
    import brainseg.bidsapp.reports.participant
    import brainseg.workflows.participant  # noqa: F401

    scene = Scene(folder)
    result = {"code": scene.code, "changes": scene.changes, "files": sorted(scene.expected)}
    result |= {name: getattr(scene, name)(value) for name, value in wanted.items()}
    return result | {"said": scene.log.read_text()}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
