"""Faults: killed runs, full disks, several runs at once: nothing partial is left, the next run mends all."""

import json
import subprocess
import sys

import pytest

from helpers import TESTS

pytestmark = pytest.mark.slow

NOTHING = {"damaged": [], "missing": [], "left": []}
WANTED = {"kill": 4, "space": [200_000, 2_000], "together": 2}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What happened in the forks."""
    module = "helpers.forked"
    folder = tmp_path_factory.mktemp("forked")
    command = [sys.executable, "-m", module, str(folder), json.dumps(WANTED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_run_itself(found):
    assert found["code"] == 0, found["said"]
    assert "sub-01/anat/sub-01_desc-aseg_dseg.nii.gz" in found["files"]
    assert found["changes"] > 200
    assert "Traceback" not in found["said"]


def test_killed_at_any_point_the_same_command_gives_the_same_bytes(found):
    assert len(found["kill"]) == WANTED["kill"]
    for one in found["kill"]:
        assert one["code"] == -9, one
        # what stood under its final name when the run was killed was whole
        assert one["first"]["damaged"] == [], one
        assert (one["again"], one["then"]) == (0, NOTHING), one


def test_without_space_nothing_partial_stands_and_the_next_run_completes_it(found):
    for one in found["space"]:
        assert one["code"] in (1, 73), one
        assert one["first"]["damaged"] == [], one
        assert one["first"]["left"] == [], one
        assert (one["again"], one["then"]) == (0, NOTHING), one
    assert "the disk is full. Free disk space, then run the same command again to continue." in found["said"]


def test_several_runs_on_one_output_folder(found):
    together = found["together"]
    assert together["alone"] == 0
    codes = sorted(together["codes"])
    assert codes[:2] == [0, 0]
    assert codes[2] in (0, 75)  # 75 of the one that came when the others were at work on both
    assert together["states"] == ["done"] * 2
    assert together["found"] == NOTHING
    assert not together["work"]
