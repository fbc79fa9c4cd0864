"""What a run does about other runs: those at work, and those that were killed; memory below the plan."""

import json

import pytest

from brainseg.bidsapp.status import claims, records


@pytest.fixture
def bids(fake, tmp_path):
    return fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def _states(out):
    return {p.stem: json.loads(p.read_text())["state"] for p in out.glob("logs/status/*.json")}


@pytest.mark.slow
def test_a_unit_of_another_process_is_left_alone(app, bids, out, capsys):
    with claims.Claims(out) as others:
        assert others.take("sub-01")
        assert app(bids, out, "participant") == 0
        assert "sub-01" not in _states(out)
        said = capsys.readouterr().out
        assert "sub-01  skipped: another process is processing it" in said
        assert "1 are being processed by other processes" in said
        # nothing is left to do here: a code of its own, and no page of a study that is not complete
        assert app(bids, out, "participant", "group") == 75
        said = capsys.readouterr().out
        assert "Nothing to do here: 1 are being processed by other processes" in said
        assert "The group level is left to the process that ends last" in said
        assert not (out / "group.html").exists()
    assert app(bids, out, "participant") == 0
    assert _states(out)["sub-01"] == "done"


def test_memory_below_the_plan_is_told_at_the_start(app, bids, out, capsys):
    assert app(bids, out, "participant", "--participant-label", "01", "--mem", "1G") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "sub-01_T1w.nii.gz needs about 2.4 GB of memory (for registration)" in said
    assert "this run may use 1.0 GB: the system may kill it" in said
    assert app(bids, out, "participant", "--participant-label", "02", "--mem", "3G") == 0
    assert "of memory (for" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("memory", "why"),
    [
        (1.0, "Memory is the likely reason: it had 1.0 GB, and sub-01_T1w.nii.gz needs about 2.4 GB"),
        (8.0, "If nobody stopped it and no time limit was reached, give it more memory."),
    ],
)
def test_a_killed_run_is_told_by_the_next_one(app, bids, out, capsys, memory, why):
    facts = {"state": "running", "stage": "bias", "started": "2026-01-05T10:00:00+01:00", "host": "node7"}
    records.write(out, "sub-01", facts | {"job": "12_3", "memory_gb": memory, "run": "r"})
    assert app(bids, out, "participant", "--participant-label", "01") == 0
    told = "Its run of 2026-01-05T10:00:00+01:00 (node7, job 12_3) was killed at bias."
    said = capsys.readouterr().out
    assert f"sub-01  {told} {why}" in said
    # what is over is neither in the status, nor in report and tables
    assert not any(note.startswith(told) for note in records.read(out, "sub-01")["notes"])


def test_a_killed_run_stays_in_the_status_of_one_that_fails(app, bids, out):
    records.write(out, "sub-01", {"state": "running", "stage": "bias", "run": "r"})
    label = ["--participant-label", "01"]
    assert app(bids, out, "participant", *label, sub_01={"segmentation": "raise"}) == 1
    assert records.read(out, "sub-01")["notes"][0].startswith("Its run was killed at bias.")
