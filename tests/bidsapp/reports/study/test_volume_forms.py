"""Asymmetry of pairs, and volumes in rows."""

import csv
import json

import pytest

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.study import tables, volume_forms

HEAD = "index\tname\tvolume_mm3\tvolume_low_mm3\tvolume_high_mm3\n"
ROWS = {
    "sub-1": "17\tLeft-Hippocampus\t4200.0\t4100\t4300\n53\tRight-Hippocampus\t3800.0\t3700\t3900\n"
    "16\tBrain-Stem\t20000\tn/a\tn/a\n",
    "sub-2": "17\tLeft-Hippocampus\t0\tn/a\tn/a\n53\tRight-Hippocampus\t0\tn/a\tn/a\n",
    "sub-3": "17\tLeft-Hippocampus\t4000\tn/a\tn/a\n",
    "sub-4": "",
}


def rows_of(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture
def study(tmp_path):
    for name, text in ROWS.items():
        anat = tmp_path / name / "anat"
        anat.mkdir(parents=True)
        (anat / f"{name}_desc-aseg_volumes.tsv").write_text(HEAD + text)
    results = derivatives.load_all(tmp_path)
    about = {"participant_id": [f"sub-{result.participant}" for result in results]}
    volume_forms.write(tmp_path, results, about)
    return tmp_path


def test_asymmetry_of_pairs(study):
    rows = rows_of(study / "group_asymmetry.tsv")
    assert [row["participant_id"] for row in rows] == list(ROWS)
    # Two zeros, one missing side and no volumes have no index.
    assert [row["Hippocampus_asymmetry"] for row in rows] == ["10.0", "n/a", "n/a", "n/a"]
    about = json.loads((study / "group_asymmetry.json").read_text())
    assert list(about) == list(rows[0])
    assert about["Hippocampus_asymmetry"]["Formula"] == volume_forms.FORMULA
    assert "L the volume of Left-Hippocampus" in about["Hippocampus_asymmetry"]["Description"]


def test_fractions_of_the_intracranial_volume(study):
    assert not (study / "group_fractions.tsv").exists(), "no image has one"
    for name, inside in (("sub-1", "1500000.0"), ("sub-2", "n/a")):
        path = study / name / "anat" / f"{name}_desc-aseg_volumes.tsv"
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([f"{head}\tintracranial_mm3", *(f"{r}\t{inside}" for r in rows)]) + "\n")
    results = derivatives.load_all(study)
    about = {"participant_id": [f"sub-{result.participant}" for result in results]}
    volume_forms.write(study, results, about)
    first, *others = rows_of(study / "group_fractions.tsv")
    assert first["Left-Hippocampus"] == str(round(4200 / 1.5e6, 6)) and "intracranial" not in first
    assert float(first["brain"]) == round(results[0].volumes["brain"] / 1.5e6, 6)
    assert {row["Left-Hippocampus"] for row in others} == {"n/a"}
    assert list(first) == list(json.loads((study / "group_fractions.json").read_text()))
    tables.write_volumes(study, results, about)
    volumes = rows_of(study / "group_volumes.tsv")
    assert [row["intracranial"] for row in volumes] == ["1500000.0", "n/a", "n/a", "n/a"]
    assert list(volumes[0])[1:3] == ["brain", "intracranial"]
    volume_forms.write(study, [], {"participant_id": []})
    assert not (study / "group_fractions.tsv").exists()


def test_volumes_in_rows(study):
    rows = rows_of(study / "group_volumes_long.tsv")
    assert list(rows[0]) == list(json.loads((study / "group_volumes_long.json").read_text()))
    found = {(row["participant_id"], row["name"]): row for row in rows}
    left = found["sub-1", "Left-Hippocampus"]
    assert list(left.values())[1:] == ["17", "Left-Hippocampus", "L", "4200.0", "4100.0", "4300.0"]
    assert found["sub-1", "Right-Hippocampus"]["hemisphere"] == "R"
    assert list(found["sub-1", "Brain-Stem"].values())[3:] == ["n/a", "20000.0", "n/a", "n/a"]
    assert found["sub-1", "brain"]["index"] == "n/a"
    assert not any(row["participant_id"] == "sub-4" for row in rows)
    results = derivatives.load_all(study)
    assert len(rows) == sum(len(result.volumes) for result in results)
    assert set(tables.volume_columns(results)) == {row["name"] for row in rows}


def test_tables_without_content_are_removed(study):
    volume_forms.write(study, [], {"participant_id": []})
    assert not list(study.glob("group_*"))
