"""Several runs of one command share a dataset: everyone is done exactly once, whatever is killed."""

import json
import subprocess
import sys

import pytest

from helpers import TESTS

pytestmark = pytest.mark.slow

ROUNDS, SEED = 20, 7


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """What happened in every round; half of them as if the file system had no locks."""
    folder = tmp_path_factory.mktemp("sharing")
    command = [sys.executable, "-m", "helpers.sharing", str(folder), str(ROUNDS), str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == ROUNDS
    return found


def test_everyone_is_done_exactly_once(rounds):
    killed = [code for one in rounds for code in one["codes"].values() if code < 0]
    assert len(killed) > ROUNDS / 3
    for one in rounds:
        assert set(one["states"].values()) == {"done"}, one
        assert len(one["states"]) == len(one["begun"]), one
        for key, count in one["begun"].items():
            # twice only what a killed run left unfinished
            assert 1 <= count <= 1 + one["in_flight"].count(key), one
            assert one["done"][key] <= 1, one
        assert not one["left"], one
        assert "Traceback" not in one["said"], one["said"]


def test_the_runs_share_the_work(rounds):
    shared = [one for one in rounds if "another process" in one["said"]]
    assert len(shared) > ROUNDS / 2


def test_who_was_killed_is_named_by_the_next(rounds):
    assert any(one["running_when_killed"] for one in rounds)
    for one in rounds:
        assert set(one["running_when_killed"]) <= set(one["told"]), one
        assert set(one["told"]) <= set(one["in_flight"] + one["running_when_killed"]), one


def test_codes(rounds):
    for one in rounds:
        assert {code for code in one["codes"].values() if code >= 0} <= {0, 75}, one
