"""Measure the program on a study of many participants.

``python benchmarks/scale.py OUT [--participants 10000] [--work DIR] [--out benchmarks/README.md]`` takes the
first participant of real results (OUT) as the model of a simulated study: its files are linked under other
names, with other volumes and ages, and with one log for every participant, as an array of jobs leaves them.
Measured are the selection of one participant, the group level with and without pages in one process, and the
files of a participant. CPU times depend less than wall times on other work on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tables

TEXTS = (".json", ".tsv")
PER_SITE = 500
"""Participants of a site, a column of the study."""


@dataclass(frozen=True)
class Use:
    """CPU and wall time (s) and largest memory (GiB) of a command."""

    cpu: float
    wall: float
    memory: float


def first_of(results: Path) -> str:
    """Return the first participant of results that is done, such as ``sub-01``."""
    for path in sorted(results.glob("logs/status/sub-*.json")):
        if json.loads(path.read_text())["state"] == "done" and "_ses-" not in path.stem:
            return path.stem
    raise SystemExit(f"{results}: no participant without sessions is done")


def footprint(results: Path, key: str) -> tuple[int, float]:
    """Return the number of files of a participant, its report and status included, and their size (MB)."""
    files = [path for path in (results / key).rglob("*") if path.is_file()]
    files += [results / f"{key}.html", results / "logs" / "status" / f"{key}.json"]
    return len(files), sum(path.stat().st_size for path in files) / 1e6


def simulate(results: Path, study: Path, count: int) -> None:
    """Write a dataset and derivatives of many participants like one of real results.

    Parameters
    ----------
    results : Path
        Real results.
    study : Path
        Folder for ``bids`` and ``out``.
    count : int
        Number of participants.
    """
    bids, out, key = study / "bids", study / "out", first_of(results)
    for folder in (bids, out / "logs" / "status"):
        folder.mkdir(parents=True)
    named = json.loads((results / "dataset_description.json").read_text())["Name"].partition(" of ")[2]
    content = {"Name": named, "BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["A"]}
    (bids / "dataset_description.json").write_text(json.dumps(content))
    rows = ["participant_id\tage\tsex\tsite"]
    for path in results.iterdir():
        if path.is_file() and not path.name.startswith(("sub-", "group", "index", "participants")):
            shutil.copy2(path, out / path.name)
    run = json.loads((results / "logs" / "status" / f"{key}.json").read_text())["run"]
    shutil.copy2(results / "logs" / "CITATION.md", out / "logs")
    model = [path for path in (results / key).rglob("*") if path.is_file()]
    for number in range(count):
        name = f"sub-{number:05d}"
        anat = bids / name / "anat"
        anat.mkdir(parents=True)
        (anat / f"{name}_T1w.nii.gz").write_bytes(b"")
        (anat / f"{name}_T1w.json").write_text("{}")
        rows.append(f"{name}\t{20 + number % 60}\t{'FM'[number % 2]}\tsite{number // PER_SITE}")
        for path in model:
            _like(path, out / name / str(path.relative_to(results / key)).replace(key, name), key, number)
        _status(results, out, key, name, number, f"{run}-{number}")
        log = out / "logs" / f"{run}-{number}"
        log.mkdir()
        settings = (results / "logs" / run / "brainseg.toml").read_text().splitlines()
        kept = [line for line in settings if not line.startswith("participant_label")]
        (log / "brainseg.toml").write_text(f'participant_label = ["{name[4:]}"]\n' + "\n".join(kept) + "\n")
    (bids / "participants.tsv").write_text("\n".join(rows) + "\n")


def _like(path: Path, target: Path, key: str, number: int) -> None:
    """Write a file of another participant: text with its name, volumes of another size, all others linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix not in TEXTS:
        os.link(path, target)
        return
    text = path.read_text(encoding="utf-8").replace(key, target.name.partition("_")[0])
    if path.name.endswith("_volumes.tsv"):
        text = _scaled(text, 1 + 0.1 * ((number * 37) % 101 / 50 - 1))
    target.write_text(text, encoding="utf-8")


def _scaled(text: str, factor: float) -> str:
    """Return a table of volumes with other volumes."""
    header, *rows = [line.split("\t") for line in text.splitlines()]
    places = [place for place, name in enumerate(header) if name.endswith("volume_mm3")]
    for row in rows:
        for place in places:
            row[place] = f"{float(row[place]) * factor:.2f}"
    return "\n".join("\t".join(row) for row in (header, *rows)) + "\n"


def _status(results: Path, out: Path, key: str, name: str, number: int, run: str) -> None:
    text = (results / "logs" / "status" / f"{key}.json").read_text(encoding="utf-8")
    content = json.loads(text.replace(key, name)) | {"participant": name[4:], "run": run}
    content |= {"age": 20 + number % 60, "sex": "FM"[number % 2]}
    (out / "logs" / "status" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def measure(argv: list[str]) -> Use:
    """Return what a command of the program used."""
    program = (
        "import sys, resource; from brainseg.bidsapp.cli.bids import main; code = main(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-c", program, *argv]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Use(cpu, wall, int(done.stdout.rpartition("PEAK ")[2].split()[0]) / 2**20)


def report(uses: dict[str, Use], files: tuple[int, float], count: int) -> str:
    """Return the tables of times and of files.

    Parameters
    ----------
    uses : dict of str to Use
        What was measured, by its name.
    files : tuple of int and float
        Number of files of a participant, and their size (MB).
    count : int
        Number of participants.
    """
    rows = [[name, use.cpu, use.wall, use.memory] for name, use in uses.items()]
    text = tables.markdown([f"{count} participants", "CPU (s)", "wall (s)", "memory (GiB)"], rows, digits=1)
    return f"{text}\n\nA participant has {files[0]} files of {files[1]:.1f} MB together."


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="output folder of a real run")
    parser.add_argument("--participants", type=int, default=10_000)
    parser.add_argument("--work", type=Path, help="folder for the study, on the file system of the results")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    results = args.results.resolve()
    work = args.work or results.parent
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="brainseg-scale-", dir=work) as folder:
        study = Path(folder)
        tables.say(f"{args.participants} participants in {study}")
        simulate(results, study, args.participants)
        places = [str(study / "bids"), str(study / "out")]
        one = [*places, "participant", "--participant-label", f"{args.participants // 2:05d}", "--dry-run"]
        commands = {
            "one participant: index, selection and plan (`--participant-label`, `--dry-run`)": one,
            "group level, tables only (`--no-pages`)": [*places, "group", "--no-pages", "--nprocs", "1"],
            "group level with all pages, one process": [*places, "group", "--nprocs", "1"],
        }
        uses = {}
        for name, words in commands.items():
            uses[name] = measure(words)
            tables.say(f"{name}: {uses[name].cpu:.1f} s CPU, {uses[name].wall:.1f} s")
        text = report(uses, footprint(results, first_of(results)), args.participants)
    print(text)
    if args.out:
        tables.put(args.out, "scale", text + "\n\n" + tables.stamp())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
