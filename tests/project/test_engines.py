"""Other engines: Snakemake runs the written job; the Boutiques descriptor fits its schema and the parser."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.bidsapp.cli.bids import parse
from helpers import ROOT, TESTS

SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")
BOSH = os.environ.get("BOSH") or shutil.which("bosh")
FAKE = TESTS / "helpers" / "fake_chain.py"


@pytest.fixture
def snakemake(fake, tmp_path):
    """A function that runs a written job with options of Snakemake, and the output folder."""
    bids, out = fake.dataset(tmp_path / "my bids"), tmp_path / "o ut"
    words = [str(bids), str(out), "participant", "--write-job", "snakemake", "--device", "cpu"]
    words += ["--plugin", "linear"]
    done = subprocess.run([sys.executable, str(FAKE), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    submit = re.search(r"bash '(.*?)'", done.stdout)[1]
    path = f"{Path(SNAKEMAKE).parent}:{os.environ['PATH']}"

    def run(*options, **behaviors):
        env = os.environ | {"PATH": path, "FAKE_CHAIN": json.dumps(behaviors)}
        command = ["bash", submit, *options]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run, out


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed")
def test_snakemake_plans_everyone_and_the_group_level(snakemake):
    run, out = snakemake
    done = run("--dry-run", "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(task|group) +(\d)$", done.stdout + done.stderr, re.M)[::2] == [
        ("task", "2"),
        ("group", "1"),
    ]
    assert not (out / "logs" / "status").exists()


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed")
def test_snakemake_runs_everyone_and_the_group_level(snakemake):
    run, out = snakemake
    # who fails does not keep the others and the group level from their work, and runs again the next time
    done = run("--cores", "2", **{"sub-01": {"segmentation": "raise"}})
    assert done.returncode == 1, done.stdout + done.stderr
    assert _states(out) == {"sub-01": "failed", "sub-02": "done"}
    assert (out / "group.html").is_file()
    (out / "group.html").unlink()
    done = run("--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _states(out) == {"sub-01": "done", "sub-02": "done"}
    assert (out / "group.html").is_file()


def _states(out):
    return {path.stem: json.loads(path.read_text())["state"] for path in (out / "logs/status").glob("*.json")}


@pytest.fixture(scope="module")
def descriptor():
    spec = importlib.util.spec_from_file_location(
        "boutiques_of_brainseg", ROOT / "container" / "boutiques.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.descriptor("docker://brainseg-bids")


def test_the_descriptor_has_the_options_of_the_parser(descriptor):
    inputs = {one["id"]: one for one in descriptor["inputs"]}
    assert inputs["participant_label"]["command-line-flag"] == "--participant-label"
    assert inputs["participant_label"]["list"]
    assert inputs["analysis_level"]["value-choices"] == ["participant", "group"]
    assert (inputs["sloppy"]["type"], inputs["nprocs"]["type"]) == ("Flag", "Number")
    assert all(one["value-key"] in descriptor["command-line"] for one in inputs.values())
    flags = [one["command-line-flag"] for one in inputs.values() if one["type"] == "Flag"]
    apart = ("--verbose", "--debug", "--no-pages")  # the last is for the group level
    assert parse(["/b", "/o", "participant", *(flag for flag in flags if flag not in apart)])
    assert parse(["/b", "/o", "group", "--no-pages"])
    assert len({one["value-key"] for one in inputs.values()}) == len(inputs)


@pytest.mark.slow
@pytest.mark.skipif(not BOSH, reason="boutiques is not installed")
def test_boutiques_accepts_the_descriptor(descriptor, tmp_path):
    path = tmp_path / "brainseg-bids.json"
    path.write_text(json.dumps(descriptor))
    done = subprocess.run([BOSH, "validate", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK" in done.stdout
