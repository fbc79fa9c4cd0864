"""The state of a study: done, failed, killed, running, never begun."""

import csv
import json

import pytest

from brainseg.bidsapp.cli.bids import main
from brainseg.bidsapp.status import claims, records


@pytest.fixture
def study(fake, tmp_path):
    """An output folder with one participant in every state."""
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01"]), tmp_path / "out"
    fault = {"stage": "conform", "reason": "the file is truncated"}
    records.write(out, "sub-01", {"state": "done", "finished": "2026-01-05T10:00:00"})
    records.write(out, "sub-02_ses-1", {"state": "failed", "stage": "conform", "error": fault})
    facts = {"state": "running", "stage": "bias", "host": "node7", "job": "12_3", "memory_gb": 1.0}
    records.write(out, "sub-03", facts | {"reference": str(bids / "sub-01/anat/sub-01_T1w.nii.gz")})
    records.write(out, "sub-04", facts)
    (out / "logs" / "jobs" / "a").mkdir(parents=True)
    (out / "logs" / "jobs" / "a" / "participants.txt").write_text("01 02\n03\n04\n10\n9\n")
    with claims.Claims(out) as others:
        assert others.take("sub-04")
        yield out


def test_as_a_table(study, capsys):
    for words in ([str(study), "status"], ["status", str(study)]):
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("failed      sub-02_ses-1  at conform")
        assert lines[0].endswith("the file is truncated")
        what = "Run the same command again to continue. Memory is the likely reason"
        assert lines[1].startswith(f"killed      sub-03  at bias  node7 job 12_3  {what}")
        assert lines[2].startswith("running     sub-04  at bias")
        assert [line.split()[-1] for line in lines[3:5]] == ["sub-9", "sub-10"]
        assert lines[-1] == "6 in all: 1 done, 1 failed, 1 killed, 1 running, 2 never begun"


def test_as_tsv_and_json(study, capsys):
    assert main([str(study), "status", "--tsv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert main([str(study), "status", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    states = ["done", "failed", "killed", "running", "never begun", "never begun"]
    assert [row["state"] for row in rows] == [row["state"] for row in same] == states
    assert rows[-1]["reason"] == "n/a"


def test_who_was_stopped_has_not_failed(tmp_path, capsys):
    fault = {"stage": "bias", "reason": "the run was stopped", "kind": records.STOPPED}
    content = {"key": "sub-01", "state": "failed", "stage": "bias", "error": fault}
    records.write(tmp_path, "sub-01", content)
    assert main([str(tmp_path), "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("stopped     sub-01  at bias") and lines[0].endswith("the run was stopped")
    assert lines[-1] == "1 in all: 1 stopped"


def test_a_folder_without_results(tmp_path, capsys):
    assert main([str(tmp_path), "status"]) == 2
    assert "there are no results of brainseg-bids" in capsys.readouterr().err
