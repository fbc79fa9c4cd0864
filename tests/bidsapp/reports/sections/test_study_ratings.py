"""The group level reads ratings back: tables, page, and files that cannot be used."""

import csv
import json
import shutil

import pytest

from brainseg.bidsapp.reports.group import run_group


@pytest.fixture(scope="module")
def built(phantoms, tmp_path_factory):
    """Three rated participants and one that failed."""
    out = tmp_path_factory.mktemp("derivatives")
    for key, verdict in {"sub-01": "pass", "sub-02": "fail", "sub-03": "check"}.items():
        phantoms.participant_session(out, key, pictures=False, verdict=verdict)
    phantoms.failed(out, "sub-04", reason="it is 5 voxels wide")
    return out


@pytest.fixture
def tree(built, tmp_path):
    return shutil.copytree(built, tmp_path / "out")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def rate(tree, rater, **levels):
    folder = tree / "ratings"
    folder.mkdir(exist_ok=True)
    content = [
        {
            "participant_id": key.replace("_", "-"),
            "session_id": "n/a",
            "rating": level,
            "rater": rater,
            "time": "1",
        }
        for key, level in levels.items()
    ]
    (folder / f"{rater}.json").write_text(json.dumps(content))


def test_without_readers_the_automatic_rating_decides(tree):
    page = run_group(tree).read_text()
    rows = rows_of(tree / "group_quality.tsv")
    assert [row["decision"] for row in rows] == ["include", "exclude", "review", "exclude"]
    assert "manual_rating" not in rows[0]
    assert [row["participant_id"] for row in rows_of(tree / "group_exclusions.tsv")] == ["sub-02", "sub-04"]
    assert "Decisions" in page and "Agreement of the raters" not in page
    assert not (tree / "group_agreement.tsv").exists()


def test_readers_decide_and_their_agreement_is_told(tree):
    rate(tree, "ann", sub_01="fail", sub_02="pass", sub_03="pass")
    rate(tree, "bob", sub_01="fail", sub_03="check")
    page = run_group(tree).read_text()
    rows = rows_of(tree / "group_quality.tsv")
    assert [row["decision"] for row in rows] == ["exclude", "include", "review", "exclude"]
    assert [row["manual_rating"] for row in rows] == ["fail", "pass", "mixed", "n/a"]
    assert rows[0]["raters"] == "ann, bob"
    assert set(json.loads((tree / "group_quality.json").read_text())) == set(rows[0])
    pairs = {(row["rater_1"], row["rater_2"]): row for row in rows_of(tree / "group_agreement.tsv")}
    assert pairs["ann", "bob"]["count"] == "2" and pairs["ann", "bob"]["agreement"] == "0.500"
    assert ("ann", "automatic") in pairs
    assert "Agreement of the raters" in page and "readers: mixed" in page
    shutil.rmtree(tree / "ratings")
    run_group(tree)
    assert not (tree / "group_agreement.tsv").exists()


def test_files_that_cannot_be_used_are_told_on_the_page_and_in_the_run(tree, app, capsys, tmp_path):
    rate(tree, "ann", sub_99="pass")
    assert "sub-99 is not in the output folder" in run_group(tree).read_text()
    (tmp_path / "bids").mkdir()
    assert app(tmp_path / "bids", tree, "group") == 0
    assert "ratings/ann.json: sub-99 is not in the output folder" in capsys.readouterr().out
