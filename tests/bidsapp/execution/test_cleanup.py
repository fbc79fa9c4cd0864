"""What earlier runs left: files of another image go, people who never began are not forgotten."""

import csv
import json
import os

import pytest

from brainseg.bidsapp.execution import participants_tsv
from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.status import records
from brainseg.interfaces.io.dataset import write_dataset_description


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def _table(path):
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def test_files_of_another_image_go_when_the_new_results_stand(app, fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, out, "participant") == 0
    (out / "sub-01" / "anat" / "mine.txt").write_text("precious")
    old = sorted(path.name for path in out.glob("sub-01/anat/sub-01_desc*"))
    assert old
    image = bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    image.rename(image.with_name("sub-01_acq-new_T1w.nii.gz"))
    # while the new ones do not stand, the old ones stay, and are not forgotten
    assert app(bids, out, "participant", sub_01={"segmentation": "raise"}) == 1
    assert sorted(path.name for path in out.glob("sub-01/anat/sub-01_desc*")) == old
    assert app(bids, out, "participant") == 0
    names = {path.name for path in out.glob("sub-01/anat/*")}
    assert names == {"mine.txt", *(name.replace("sub-01_", "sub-01_acq-new_") for name in old)}
    assert records.read(out, "sub-01")["earlier"] == []
    assert (out / "sub-01.html").is_file()


def test_what_a_killed_task_left_in_the_work_folder_goes_once_the_participant_is_done(
    app, fake, out, tmp_path
):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, out, "participant", "--keep-work-dir") == 0
    (left,) = (tmp_path / "work").glob("brainseg_*")
    assert left.is_dir()
    assert app(bids, out, "participant", "--keep-work-dir") == 0
    assert left.is_dir()
    assert app(bids, out, "participant") == 0
    assert not (tmp_path / "work").exists()


def test_other_settings_for_the_same_image_remove_nothing(app, fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, out, "participant") == 0
    content = records.read(out, "sub-01")
    extra = out / "sub-01" / "anat" / "sub-01_space-other_dseg.nii.gz"
    extra.write_text("x")
    records.write(out, "sub-01", content | {"outputs": [*content["outputs"], str(extra.relative_to(out))]})
    assert app(bids, out, "participant", "--skull-strip", "force") == 0
    assert extra.is_file()


def test_a_status_file_cannot_have_other_files_removed(out, tmp_path):
    folder = out / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    others = [tmp_path / "data.txt", out / "dataset_description.json", out / "sub-02" / "x.nii.gz"]
    others += [tmp_path / "elsewhere" / "y.nii.gz", out / "sub-01.html"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    names = ["../data.txt", str(tmp_path / "data.txt"), "dataset_description.json", "sub-02/x.nii.gz", ""]
    names += ["sub-01/../sub-02/x.nii.gz", "sub-01/anat/link/y.nii.gz", "sub-01.html", "sub-01/anat"]
    records.remove(out, "01", names)
    assert all(path.read_text() == "precious" for path in others)
    (folder / "old.nii.gz").write_text("x")
    records.remove(out, "01", ["sub-01/anat/old.nii.gz"])
    assert not (folder / "old.nii.gz").exists()


def test_who_never_began_is_missing_at_the_group_level(app, fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02", "sub-10"])
    (bids / "participants.tsv").write_text("participant_id\tage\tsex\nsub-10\t41\tF\nsub-01\tn/a\tM\n")
    assert app(bids, out, "participant", "group", "--participant-label", "01") == 0
    rows = {row["participant_id"]: row for row in _table(out / "participants.tsv")}
    assert list(rows) == ["sub-01", "sub-02", "sub-10"]
    assert (rows["sub-10"]["age"], rows["sub-10"]["sex"], rows["sub-01"]["age"]) == ("41", "F", "n/a")
    assert json.loads((out / "participants.json").read_text())["age"]["Units"] == "year"
    assert _table(out / "group_missing.tsv") == []  # no run selected the others
    killed = out / "logs" / "killed"
    killed.mkdir()
    (killed / "brainseg.toml").write_text('analysis_level = ["participant"]\n')
    assert app(bids, out, "group") == 0
    states = {row["participant_id"]: row["state"] for row in _table(out / "group_missing.tsv")}
    assert states == {"sub-02": "missing", "sub-10": "missing"}
    assert {ps.key: ps.state for ps in derivatives.load_all(out)}["sub-10"] == "missing"


def test_the_list_of_participants_keeps_all_columns_of_the_study(fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    table = "participant_id\tage\tgroup\tSex\tBMI\n1\t6 months\tpatient\tF\t\nsub-02\t30\tcontrol\tM\t21.5\n"
    (bids / "participants.tsv").write_text(table)
    (bids / "participants.json").write_text('{"BMI": {"Units": "kg/m^2"}}')
    out.mkdir()
    participants_tsv.write(out, bids)
    first, second = _table(out / "participants.tsv")
    assert first == {
        **{"participant_id": "sub-01", "age": "0.5", "sex": "F", "age_source": "6 months"},
        **{"group": "patient", "BMI": "n/a"},
    }
    assert (second["group"], second["BMI"], second["age_source"]) == ("control", "21.5", "30")
    described = json.loads((out / "participants.json").read_text())
    assert described["age_source"] == {"Description": "age, the text as in the source dataset"}
    assert described["BMI"] == {"Units": "kg/m^2"} and set(described) == set(first)
    # a column that the study gets later is added; what was edited here stays
    (out / "participants.tsv").write_text((out / "participants.tsv").read_text().replace("control", "other"))
    (bids / "participants.tsv").write_text(table.replace("BMI", "BMI\tsite").replace("21.5", "21.5\tB"))
    participants_tsv.write(out, bids)
    assert [(row["group"], row["site"]) for row in _table(out / "participants.tsv")] == [
        ("patient", "n/a"),
        ("other", "B"),
    ]
    assert "site" in json.loads((out / "participants.json").read_text())


def test_the_group_level_has_columns_that_the_study_got_since(app, fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    assert app(bids, out, "participant") == 0
    write_dataset_description(out, bids, "1")
    (bids / "participants.tsv").write_text("participant_id\tarm\nsub-01\tA\nsub-02\tB\n")
    assert app(bids, out, "group") == 0
    assert [row["arm"] for row in _table(out / "group_volumes.tsv")] == ["A", "B"]
    assert app(bids, out, "group", "--group-by", "nothing") == 2


def test_a_table_that_stands_is_kept_and_completed(fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    (bids / "sub-0;3" / "anat").mkdir(parents=True)
    out.mkdir()
    own = "participant_id\tdiagnosis\tsex\nsub-02\tnone\tX\nsub-gone\tsome\tn/a\n"
    (out / "participants.tsv").write_text(own)
    participants_tsv.write(out, bids)
    assert (out / "participants.tsv").read_text() == f"{own}sub-01\tn/a\tn/a\n"
    before = (out / "participants.tsv").stat().st_mtime_ns
    participants_tsv.write(out, bids)
    assert (out / "participants.tsv").stat().st_mtime_ns == before
    for text in (b"\xff\xfe\x00", b"", b"name\nx\n"):
        (out / "participants.tsv").write_bytes(text)
        participants_tsv.write(out, bids)
        assert (out / "participants.tsv").read_bytes() == text


def test_half_written_files_of_killed_processes_are_removed(app, fake, out, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    mine = ["logs/status/.sub-01.json.0a1b2c3d", "sub-01/figures/.sub-01_desc-x.png.4711"]
    mine += ["sub-01/anat/.sub-01_dseg.nii.gz.0a1b2c3d.partial"]
    young, old = ".participants.tsv.0a1b2c3d.partial", ".README.0a1b2c3d.partial"
    others = ["logs/status/.sub-02.json.0a1b2c3d", "sub-01/anat/.keep", young]
    for name in [*mine, *others, old]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half")
    os.utime(out / old, (0, 0))
    assert app(bids, out, "participant") == 0
    assert not any((out / name).exists() for name in [*mine, old])
    assert all((out / name).exists() for name in others)
