"""Other engines: the Snakefile runs a dataset; the Boutiques descriptor fits its schema and the parser."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest

from brainseg.bidsapp.cli.bids import parse
from helpers import ROOT, TESTS

SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")
BOSH = os.environ.get("BOSH") or shutil.which("bosh")
FAKE = TESTS / "helpers" / "fake_chain.py"


@pytest.fixture(scope="module")
def descriptor():
    spec = importlib.util.spec_from_file_location(
        "boutiques_of_brainseg", ROOT / "container" / "boutiques.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.descriptor("docker://brainseg-bids")


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed")
def test_the_snakefile_runs_everyone_and_the_group_level(fake, tmp_path):
    bids, out = fake.dataset(tmp_path / "bids"), tmp_path / "out"
    values = [f"bids={bids}", f"out={out}", f"program={sys.executable} {FAKE}", "options=--device cpu"]
    command = [SNAKEMAKE, "--snakefile", str(ROOT / "docs" / "engines" / "Snakefile"), "--cores", "2"]
    done = subprocess.run(
        [*command, "--config", *values], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = [json.loads(path.read_text())["state"] for path in (out / "logs" / "status").glob("*.json")]
    assert states == ["done", "done"]
    assert (out / "group.html").is_file()


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
