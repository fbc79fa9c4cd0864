"""Written jobs on a real Slurm: killed by time, for memory, submitted again; the group level; Snakemake."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.bidsapp.status import records
from helpers import TESTS, fake_chain, slurm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "there is a Slurm"),
]

SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")
FAKE = TESTS / "helpers" / "fake_chain.py"
LIMIT = 400
"""Seconds after which jobs must have ended, also on a busy computer."""

REAL = ("1", "2")
"""Jobs of the real participant: its array, and the group level after it."""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A Slurm of one node."""
    node = slurm.Slurm(tmp_path_factory.mktemp("slurm"))
    yield node
    node.stop()


@pytest.fixture(scope="module")
def study(node, demo_dataset, tmp_path_factory):
    """Five participants for the quick chain, and a real one, whose job runs meanwhile."""
    folder = tmp_path_factory.mktemp("study")
    bids, out = fake_chain.dataset(folder / "bids", [f"sub-{n:02d}" for n in range(1, 6)]), folder / "out"
    (bids / "sub-06" / "anat").mkdir(parents=True)
    for path in (demo_dataset / "sub-01" / "anat").glob("sub-01_T1w.*"):
        shutil.copy(path, bids / "sub-06" / "anat" / path.name.replace("sub-01", "sub-06"))
    real, listed = _write(["-m", "brainseg.bidsapp"], bids, out, "--participant-label", "06", "--sloppy")
    assert listed == ["06"]
    assert "submitted: 1," in node.run("bash", str(real / "submit.sh"))
    return bids, out


def _write(program, bids, out, *options, engine="slurm"):
    """Write a job; returns its folder and its list."""
    words = [str(bids), str(out), "participant", "--write-job", engine, "--device", "cpu", *options]
    done = subprocess.run([sys.executable, *program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(re.search(r"bash (\S+)/submit.sh", done.stdout)[1])
    return folder, (folder / "participants.txt").read_text().split()


def _states(out):
    command = [sys.executable, "-m", "brainseg.bidsapp", str(out), "status", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return {row["key"]: row["state"] for row in json.loads(found.stdout)}


def _said(out):
    return "\n".join(path.read_text() for path in out.glob("logs/jobs/*/*.log"))


def test_killed_tasks_are_submitted_again(node, study):
    bids, out = study
    labels = ["01", "02", "03", "04", "05"]
    wanted = {"sub-02": {"segmentation": "600"}, "sub-04": {"segmentation": "fill"}}
    little = ["--mem", "1500M", "--plugin", "linear"]
    first, listed = _write([FAKE], bids, out, "--participant-label", *labels, *little)
    assert listed == labels
    node.run("bash", str(first / "submit.sh"), "--time=1", FAKE_CHAIN=json.dumps(wanted))
    node.wait(LIMIT, but=REAL)
    states = _states(out)
    assert {states[f"sub-{label}"] for label in ("01", "03", "05")} == {"done"}, _said(out)
    # at the end of its time the program is asked to end, and tells it; memory is taken without a word
    assert (states["sub-02"], states["sub-04"]) == ("stopped", "killed"), _said(out)
    assert "stopped by SIGTERM" in records.read(out, "sub-02")["error"]["reason"]
    assert "exceeded memory limit" in _said(out)
    assert records.read(out, "sub-04")["job"].endswith("_4")

    again, listed = _write([FAKE], bids, out, "--only-failed", "--plugin", "linear")
    assert listed == ["02", "04"]
    (out / "group.html").unlink(missing_ok=True)
    node.run("bash", str(again / "submit.sh"))
    node.wait(LIMIT, but=REAL)
    states = _states(out)
    assert {states[f"sub-{label}"] for label in labels} == {"done"}, _said(out)
    assert "was killed at segmentation" in _said(out)
    assert not any("killed" in note for note in records.read(out, "sub-04")["notes"])  # it is done now
    # the group level followed
    page = out / "group.html"
    newest = max((out / "logs" / "status" / f"sub-{label}.json").stat().st_mtime for label in labels)
    assert page.stat().st_mtime >= newest
    assert all(f"sub-{label}" in (out / "group_quality.tsv").read_text() for label in labels)


def test_a_real_participant_has_the_memory_and_the_time_that_it_needs(node, study):
    _, out = study
    node.wait(2 * LIMIT)
    states = _states(out)
    assert states["sub-06"] == "done", _said(out)
    assert (out / "sub-06" / "anat" / "sub-06_desc-aseg_dseg.nii.gz").is_file()
    assert (out / "group.html").stat().st_mtime >= (out / "logs/status/sub-06.json").stat().st_mtime
    assert set(states.values()) == {"done"}


@pytest.mark.skipif(not SNAKEMAKE, reason="Snakemake or its plugin for Slurm is not installed")
def test_snakemake_submits_six_participants(node, tmp_path):
    bids, out = fake_chain.dataset(tmp_path / "bids", [f"sub-{n:02d}" for n in range(1, 7)]), tmp_path / "out"
    job, listed = _write([FAKE], bids, out, "--plugin", "linear", engine="snakemake")
    assert len(listed) == 6
    srun = tmp_path / "bin" / "srun"  # jobs do not know the Slurm of the tests
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={node.env["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    path = f"{srun.parent}:{Path(SNAKEMAKE).parent}:{os.environ['PATH']}"
    options = ["--executor", "slurm", "--jobs", "6", "--slurm-status-command", "squeue", "--slurm-no-account"]
    options += ["--slurm-init-seconds-before-status-checks", "5"]
    submit = ["timeout", "-k", "5", str(LIMIT), "bash", str(job / "submit.sh")]
    said = node.run(*submit, *options, check=False, PATH=path)
    logs = "\n".join(path.read_text() for path in sorted(job.glob(".snakemake/slurm_logs/**/*.log")))
    assert set(_states(out).values()) == {"done"}, said[-4000:] + logs[-4000:]
    assert len(_states(out)) == 6
    again = said.count("Trying to restart job")  # a busy node may lose one
    assert said.count("submitted with SLURM jobid") == 7 + again  # and the group level
    assert (out / "group.html").is_file()
