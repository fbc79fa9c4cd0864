"""Status files: written whole, believed only where they are true."""

import json
from pathlib import Path

import pytest

from brainseg.bidsapp.execution.progress import Progress, describe
from brainseg.bidsapp.execution.tracker import Tracker
from brainseg.bidsapp.inputs.select import ParticipantSession
from brainseg.bidsapp.status import records
from brainseg.bidsapp.status.records import Fault, Record

MATTER = {"skull_strip": "auto"}


@pytest.fixture
def participant_session(tmp_path):
    image = tmp_path / "bids" / "sub-01_T1w.nii.gz"
    image.parent.mkdir()
    image.write_bytes(b"an image")
    return ParticipantSession("01", None, image, "T1w", age=41.0, sex="F")


@pytest.fixture
def out(tmp_path, participant_session):
    """An output folder in which the participant-session is done."""
    folder = tmp_path / "out"
    for name in ("sub-01/anat/x.nii.gz", "sub-01.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    record = Record(
        participant_session, state="done", settings=MATTER, outputs=["sub-01/anat/x.nii.gz", "sub-01.html"]
    )
    records.write(folder, participant_session.key, record.as_dict())
    return folder


def _change(out: Path, **changes) -> None:
    records.write(out, "sub-01", records.read(out, "sub-01") | changes)


def test_what_is_done_stands(out, participant_session):
    assert records.finished(out, participant_session, MATTER) == "yes"
    content = json.loads((out / "logs" / "status" / "sub-01.json").read_text())
    assert content["age"] == 41.0
    assert content["inputs"]["size"] == 8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "failed"}, ""),
        ({"state": "running"}, ""),
        ({"version": "0.0.1"}, "other version (0.0.1)"),
        ({"settings": {"skull_strip": "force"}}, "other settings (skull strip)"),
        ({"settings": {"skull_strip": "auto", "atlases": ["x"]}}, "other settings (atlases)"),
        ({"outputs": []}, "no list of its files"),
        ({"outputs": ["sub-01/anat/gone.nii.gz"]}, "missing files (sub-01/anat/gone.nii.gz)"),
        ({"inputs": {"path": "elsewhere", "size": 8, "mtime": 0}}, "other input files"),
    ],
)
def test_what_differs_is_computed_again_and_told(out, participant_session, changes, why):
    assert records.why_again(out, participant_session, MATTER) == ""
    _change(out, **changes)
    assert records.finished(out, participant_session, MATTER) == "no"
    assert records.why_again(out, participant_session, MATTER) == why


def test_what_was_computed_with_former_names_of_settings_stands(out, participant_session):
    _change(out, settings={"quality": "fast", "sloppy": False})
    assert records.finished(out, participant_session, {"effort": "fast", "sloppy": False}) == "yes"
    assert records.finished(out, participant_session, {"effort": "accurate", "sloppy": False}) == "no"


def test_another_image_is_computed_again(out, participant_session):
    participant_session.image.write_bytes(b"another one")
    assert records.finished(out, participant_session, MATTER) == "no"


def test_a_missing_report_is_made_from_what_is_there(out, participant_session):
    (out / "sub-01.html").unlink()
    assert records.finished(out, participant_session, MATTER) == "report"
    (out / "sub-01.html").write_text("x")
    _change(out, error={"stage": "report"})
    assert records.finished(out, participant_session, MATTER) == "report"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "done"}', '{"outputs": 3, "state": "done"}'])
def test_a_damaged_status_is_no_status(out, participant_session, text):
    (out / "logs" / "status" / "sub-01.json").write_text(text)
    assert records.finished(out, participant_session, MATTER) == "no"


def test_a_full_disk_ends_no_run(tmp_path, participant_session, monkeypatch, caplog):
    told = Progress()
    tracker = Tracker(tmp_path / "out", "r", told)
    monkeypatch.setattr(
        records, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    tracker.refuse(participant_session, Fault("conform", "it is empty"))
    tracker.refuse(participant_session, Fault("conform", "it is empty"))
    told = [record.message for record in caplog.records if "No space" in record.message]
    assert len(told) == 1
    assert told[0].startswith(f"{tmp_path}/out/logs/status/sub-01.json: the status cannot be written")


def test_a_failure_is_told_in_one_line(participant_session):
    fault = Fault("conform", "the file is truncated", "/b/sub-01_T1w.nii.gz", "Fetch it again")
    line = describe(Record(participant_session, state="failed", fault=fault, stage="conform"))
    assert line == "sub-01  failed at conform: /b/sub-01_T1w.nii.gz: the file is truncated. Fetch it again."


def test_former_names_of_fields_are_read(tmp_path):
    former = {"others": ["/a/sub-01_T2w.nii.gz"], "beside": [], "given": {"mask": "/a/mask.nii.gz"}}
    records.write(tmp_path, "sub-01", former)
    assert records.read(tmp_path, "sub-01") == {
        "left_out": ["/a/sub-01_T2w.nii.gz"],
        "other_contrasts": [],
        "precomputed": {"mask": "/a/mask.nii.gz"},
    }


def test_results_of_an_earlier_run_are_told_from_files_of_users():
    names = [
        "sub-01_desc-aseg_dseg.nii.gz",
        "sub-01_acq-x_desc-preproc_T2w.nii.gz",
        "sub-01_desc-brain_mask_edited.nii.gz",
        "sub-01_seg-Schaefer100_desc-parcels_dseg.json",
        "sub-01_seg-Schaefer100_desc-parcels_dseg.nii.gz",
        "notes.txt",
    ]
    content = {"outputs": ["sub-01/anat/sub-01_desc-aseg_dseg.nii.gz", "sub-01.html"]}
    former = records.former(content, "sub-01", names)
    assert former == [names[1], names[3], names[4]]
    (note,) = records.words_on_former(former)
    assert note.endswith(f"{names[1]}, {names[4]}.")
    assert records.words_on_former([f"{n}.nii.gz" for n in range(10)])[0].endswith("7.nii.gz and 2 more.")
    assert records.words_on_former([]) == []


@pytest.mark.parametrize("outputs", [None, [], "x", ["sub-01.html"]])
def test_without_a_list_of_outputs_all_files_count(outputs):
    assert records.former({"outputs": outputs}, "sub-01", ["sub-01_desc-aseg_dseg.nii.gz"]) == []
