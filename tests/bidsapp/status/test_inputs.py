"""Input files: known again after a copy, and told from others."""

import doctest
import os
import shutil
from dataclasses import replace

import pytest

from brainseg.bidsapp.inputs.precomputed import Precomputed
from brainseg.bidsapp.inputs.select import ParticipantSession
from brainseg.bidsapp.status import arithmetic, inputs, records
from brainseg.bidsapp.status.records import Record


@pytest.fixture
def session(tmp_path):
    folder = tmp_path / "study" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    images = [folder / f"sub-01_{suffix}.nii.gz" for suffix in ("T1w", "T2w")]
    mask = tmp_path / "theirs" / "sub-01" / "anat" / "mask.nii.gz"
    mask.parent.mkdir(parents=True)
    for path in (*images, mask):
        path.write_bytes(path.name.encode())
    given = Precomputed({"mask": mask})
    return ParticipantSession("01", None, images[0], "T1w", other_contrasts=[images[1]], precomputed=given)


def _moved(session, folder):
    """The same files in another place, with other times."""

    def copy(path):
        target = folder / inputs.place(path, "01")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (1, 1))
        return target

    given = Precomputed({role: copy(path) for role, path in session.precomputed.files.items()})
    others = [copy(path) for path in session.other_contrasts]
    return replace(session, image=copy(session.image), other_contrasts=others, precomputed=given)


def test_examples():
    assert doctest.testmod(inputs).failed == doctest.testmod(arithmetic).failed == 0


def test_a_copy_is_the_same(session, tmp_path):
    before = inputs.of(session, checksums=True)
    assert before["path"] == "sub-01/anat/sub-01_T1w.nii.gz" and len(before["sha256"]) == 64
    assert [len(one["sha256"]) for one in before["more"]] == [64, 64]
    copy = _moved(session, tmp_path / "copy")
    assert inputs.unchanged(before, copy)
    assert inputs.of(copy) != inputs.of(session)
    now = inputs.retimed(before, copy)
    assert (now["mtime"], now["sha256"]) == (1.0, before["sha256"])
    copy.precomputed.files["mask"].write_bytes(b"ksam.nii.gz\0")
    os.utime(copy.precomputed.files["mask"], (2, 2))
    assert not inputs.unchanged(before, copy)


def test_files_are_read_only_where_that_decides(session, tmp_path, monkeypatch):
    before, copy = inputs.of(session, checksums=True), _moved(session, tmp_path / "copy")
    longer = _moved(session, tmp_path / "longer")
    longer.image.write_bytes(b"an image of another size")
    monkeypatch.setattr(inputs, "_checksum", lambda path, *_: read.append(path.name) or "")
    read: list[str] = []
    assert inputs.unchanged(before, session)
    assert not inputs.unchanged(before, longer)
    assert inputs.unchanged(inputs.retimed(before, copy), copy)
    assert read == []
    assert not inputs.unchanged(before, copy) and read == ["sub-01_T1w.nii.gz"]


def test_status_files_of_earlier_versions_are_understood(session, tmp_path):
    """They have whole paths and times, and no checksums."""

    def former(path):
        found = path.stat()
        return {"path": str(path), "size": found.st_size, "mtime": round(found.st_mtime, 3)}

    files = [session.image, *session.other_contrasts, *session.precomputed.files.values()]
    before = former(files[0]) | {"more": [former(path) for path in files[1:]]}
    assert inputs.unchanged(before, session)
    moved = replace(session, image=tmp_path / "elsewhere" / "sub-01" / "anat" / session.image.name)
    moved.image.parent.mkdir(parents=True)
    shutil.copy2(session.image, moved.image)
    assert inputs.unchanged(before, moved)  # a copy that keeps the times
    os.utime(moved.image, (1, 1))
    assert not inputs.unchanged(before, moved)


@pytest.mark.parametrize("before", [None, {}, {"path": 3}, {"path": "x", "more": 3}, {"more": [3, 4]}])
def test_damaged_inputs_are_others(session, before):
    assert not inputs.unchanged(before, session)


def test_folders_of_derivatives_may_move_and_their_names_count(session, tmp_path):
    matter = {"derivatives": ["theirs=/a/b"]}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-01.html").touch()
    record = Record(session, state="done", settings=matter, outputs=["sub-01.html"])
    records.write(tmp_path / "out", "sub-01", record.as_dict())
    copy = _moved(session, tmp_path / "copy")
    assert records.finished(tmp_path / "out", copy, {"derivatives": ["theirs=/c/d"]}) == "yes"
    assert records.finished(tmp_path / "out", copy, {"derivatives": ["others=/a/b"]}) == "no"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "nothing"])
def test_what_has_no_end_is_not_read(tmp_path, kind):
    path = tmp_path / "sub-01_T1w.nii.gz"
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    assert inputs.CHECKSUM not in inputs.fingerprint(path, "01", checksums=True)
