"""Bad input: each gets an error that names file, reason and way out, and nothing else is lost."""

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.execution import directories
from brainseg.bidsapp.status import records
from brainseg.interfaces.io.dataset import write_dataset_description
from brainseg.models.io import atomic


def _write(path: Path, data, affine=None, **codes) -> None:
    image = nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1]) if affine is None else affine)
    image.set_sform(image.affine if affine is None else affine, codes.get("sform", 1))
    image.set_qform(image.affine if affine is None else None, codes.get("qform", 1))
    nib.save(image, path)


def _noise(*shape):
    return np.random.default_rng(0).integers(1, 900, shape).astype(np.int16)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-3000])


def _cut_header(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:200]))


def _no_orientation(path):
    _write(path, _noise(24, 26, 22), sform=0, qform=0)


def _singular(path):
    image = nib.load(path)
    header = image.header.copy()
    header["srow_x"] = header["srow_y"]
    data = np.asarray(image.dataobj)
    broken = nib.Nifti1Image(data, None, header)
    broken.header["sform_code"] = 1
    nib.save(broken, path)


def _dangling(path):
    path.unlink()
    path.symlink_to("../../.git/annex/objects/gone.nii.gz")


def _broken_json(path):
    Path(str(path).replace(".nii.gz", ".json")).write_text('{"EchoTime": 0.003,')


def _empty_json(path):
    Path(str(path).replace(".nii.gz", ".json")).write_text("")


BAD = {
    "truncated": (_truncated, "truncated"),
    "header": (_cut_header, "cannot be read|not a readable"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "no gzip": (lambda path: path.write_bytes(b"this is no image" * 50), "not a readable|cannot be read"),
    "dangling link": (_dangling, "not on this machine"),
    "4-D": (lambda path: _write(path, _noise(24, 26, 22, 3)), "3 volumes"),
    "zeros": (lambda path: _write(path, np.zeros((24, 26, 22), np.int16)), "all its voxels are zero"),
    "NaN only": (
        lambda path: _write(path, np.full((24, 26, 22), np.nan, np.float32)),
        "all its voxels are NaN or infinite",
    ),
    "no affine": (_no_orientation, "orientation"),
    "singular affine": (_singular, "singular|not finite|affine"),
    "2-D": (lambda path: _write(path, _noise(64, 64)), "2-D"),
    "5 wide": (lambda path: _write(path, _noise(5, 64, 64)), "5 voxels wide"),
    "broken JSON": (_broken_json, "not valid JSON"),
    "empty JSON": (_empty_json, "it is empty"),
    "no image": (lambda path: path.unlink(), "no image"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_a_bad_image_fails_by_name_and_alone(app, fake, tmp_path, capsys, case):
    spoil, reason = BAD[case]
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"]), tmp_path / "out"
    spoil(bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert app(bids, out, "participant") == 1
    content = records.read(out, "sub-01")
    assert content["state"] == "failed"
    assert "sub-01" in content["error"]["file"]
    assert content["error"]["file"].startswith(str(bids))
    assert content["error"]["remedy"]
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    line = next(text for text in said.out.splitlines() if "sub-01  failed at" in text)
    assert content["error"]["file"] in line
    import re

    assert re.search(reason, line), line
    assert records.read(out, "sub-02")["state"] == "done"
    assert not list(out.glob("sub-01/**/*.nii*"))


def _refused(capsys) -> str:
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
    return said.err


def test_no_dataset_description(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids")
    (bids / "dataset_description.json").unlink()
    assert app(bids, tmp_path / "out", "participant") == 65
    assert f"{bids}: it has no dataset_description.json" in _refused(capsys)
    assert not (tmp_path / "out").exists()


def test_an_unknown_participant(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids")
    assert app(bids, tmp_path / "out", "participant", "--participant-label", "03") == 2
    said = _refused(capsys)
    assert "no participant sub-03" in said
    assert "sub-01" in said
    assert "sub-02" in said


@pytest.mark.parametrize("where", [".", "out", "sub-01/out", "derivatives", "code/../results"])
def test_output_inside_the_dataset(app, fake, tmp_path, capsys, where):
    bids = fake.dataset(tmp_path / "bids")
    before = sorted(bids.rglob("*"))
    assert app(bids, bids / where, "participant") == 2
    assert "the output folder " in _refused(capsys)
    assert sorted(bids.rglob("*")) == before


@pytest.mark.slow
def test_output_below_derivatives_is_what_bids_allows(app, fake, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    out = bids / "derivatives" / "brainseg"
    assert app(bids, out, "participant") == 0
    assert app(bids, out, "participant", "--no-resume") == 0
    assert records.read(out, "sub-01")["left_out"] == []


def test_a_link_into_the_dataset_is_seen_through(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids")
    (tmp_path / "link").symlink_to(bids)
    assert app(bids, tmp_path / "link" / "out", "participant") == 2
    assert "inside the dataset" in _refused(capsys)


def test_work_folder_where_it_must_not_be(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids")
    for work in (bids / "work", tmp_path / "out" / "work"):
        assert app(bids, tmp_path / "out", "participant", "--work-dir", work) == 2
        assert f"{work}: the work folder lies inside" in _refused(capsys)
        assert not work.exists()


def test_output_that_cannot_be_written(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids")
    (tmp_path / "file").write_text("precious")
    assert app(bids, tmp_path / "file", "participant") == 2
    assert "file: the output folder is a file" in _refused(capsys)
    assert app(bids, tmp_path / "file" / "out", "participant") == 2
    assert "cannot be written" in _refused(capsys)
    assert (tmp_path / "file").read_text() == "precious"
    if os.getuid():  # the superuser writes everywhere
        (tmp_path / "mine").mkdir(mode=0o500)
        assert app(bids, tmp_path / "mine" / "out", "participant") == 2
        assert "Permission denied" in _refused(capsys)


def test_output_that_holds_something_else(app, fake, tmp_path, capsys):
    bids, other = fake.dataset(tmp_path / "bids"), fake.dataset(tmp_path / "other")
    assert app(bids, other, "participant") == 2
    assert "holds another dataset" in _refused(capsys)
    (other / "dataset_description.json").write_text("{")
    assert app(bids, other, "participant") == 2
    assert "not valid JSON" in _refused(capsys)


def test_two_studies_never_share_an_output_folder(app, fake, tmp_path, capsys):
    """Participants with the same label would be mixed up; a study that was moved or renamed goes on."""
    bids, other, out = fake.dataset(tmp_path / "a"), fake.dataset(tmp_path / "b"), tmp_path / "out"
    for root, name in ((bids, "One"), (other, "Two")):
        (root / "dataset_description.json").write_text(f'{{"Name": "{name}", "BIDSVersion": "1.10.0"}}')
    write_dataset_description(out, bids, "1", sloppy=True)
    for more in ([], ["--dry-run"]):
        assert app(other, out, "participant", *more) == 2
        assert "holds the results of another dataset (../a)" in _refused(capsys)
    moved = shutil.move(bids, tmp_path / "moved")
    assert app(moved, out, "participant") == 0
    write_dataset_description(out, moved, "1")
    (moved / "dataset_description.json").write_text('{"Name": "Renamed", "BIDSVersion": "1.10.0"}')
    assert app(moved, out, "participant") == 0


def test_two_studies_of_one_name_are_told_apart_by_their_images(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "a", ["sub-01"]), tmp_path / "out"
    assert app(bids, out, "participant") == 0
    write_dataset_description(out, bids, "1")
    others = fake.dataset(tmp_path / "b", ["sub-01"], sub_01=fake.head((25, 25, 25)))
    assert app(others, out, "participant", "--dry-run") == 2
    assert "holds the results of another dataset (../a)" in _refused(capsys)
    more = fake.dataset(tmp_path / "c", ["sub-02"])
    assert app(more, out, "participant", "--dry-run") == 0
    assert "results of another dataset (../a), with none of the images" in capsys.readouterr().out
    moved = shutil.move(bids, tmp_path / "moved")
    (moved / "dataset_description.json").write_text('{"Name": "Renamed", "BIDSVersion": "1.10.0"}')
    assert app(moved, out, "participant", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "already done, skipped" in said and "another dataset" not in said


def test_no_space_from_the_start(app, fake, tmp_path, capsys, monkeypatch):
    bids = fake.dataset(tmp_path / "bids")
    usage = shutil.disk_usage(tmp_path)._replace(free=30_000_000)
    monkeypatch.setattr(directories.shutil, "disk_usage", lambda path: usage)
    assert app(bids, tmp_path / "out", "participant") == 73
    assert "only 30 MB are free" in _refused(capsys)


def test_a_disk_that_is_full_from_the_start(app, fake, tmp_path, capsys, monkeypatch):
    bids, real = fake.dataset(tmp_path / "bids"), Path.write_text

    def full(path, text, **more):
        if path.name.startswith(".brainseg-"):
            raise OSError(28, "No space left on device", str(path))
        return real(path, text, **more)

    monkeypatch.setattr(Path, "write_text", full)
    assert app(bids, tmp_path / "out", "participant") == 73
    assert "cannot be written (No space left on device). Free disk space" in _refused(capsys)


@pytest.mark.slow
def test_a_disk_that_becomes_full(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids"), tmp_path / "out"
    assert app(bids, out, "participant", sub_01={"segmentation": "full"}) == 1
    error = records.read(out, "sub-01")["error"]
    assert error["reason"] == "the disk is full"
    assert Path(error["file"]).exists()
    assert "Free disk space" in error["remedy"]
    assert records.read(out, "sub-02")["state"] == "done"
    assert app(bids, out, "participant") == 0


def test_a_disk_too_full_for_status_and_crash_file(app, fake, tmp_path, capsys, monkeypatch):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01"]), tmp_path / "out"
    real = atomic.write_text

    def full(path, text):
        if path.suffix == ".json" and path.name != "dataset_description.json":
            raise OSError(28, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr(atomic, "write_text", full)
    monkeypatch.setattr("nipype.pipeline.plugins.base.report_crash", lambda *a, **k: full(Path("x.json"), ""))
    assert app(bids, out, "participant", sub_01={"segmentation": "raise"}) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert "the status cannot be written (No space left on device)" in said.out
    assert "sub-01  failed at segmentation" in said.out


def test_other_peoples_tables_and_files_do_no_harm(app, fake, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    (bids / "participants.tsv").write_bytes(b"\xff\xfe\x00participant_id\n\x00")
    (bids / "participants.json").write_text("[1, 2")
    (bids / "sub-01" / "sub-01_scans.tsv").write_text("")
    (bids / "T2w.json").write_text("{")
    (bids / "sub-01" / "anat" / "notes.txt").write_text("x")
    assert app(bids, tmp_path / "out", "participant") == 0
    assert json.loads((tmp_path / "out" / "logs" / "status" / "sub-01.json").read_text())["age"] is None
