"""Results of --sloppy are marked wherever a person or a table meets them, and proper ones are not."""

import csv
import json
import shutil

import pytest

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.execution import workflow
from brainseg.bidsapp.inputs import precomputed
from brainseg.bidsapp.reports.group import run_group
from brainseg.bidsapp.reports.participant import write_participant

WORDS = "Computed with --sloppy: coarse, for trying only; not for analysis"


@pytest.fixture(scope="module")
def built(phantoms, tmp_path_factory):
    """One participant computed with --sloppy, one without."""
    out = tmp_path_factory.mktemp("derivatives")
    phantoms.participant_session(out, "sub-01", pictures=False, settings={"sloppy": True})
    phantoms.participant_session(out, "sub-02", pictures=False, settings={"sloppy": False})
    return out


@pytest.fixture
def tree(built, tmp_path):
    return shutil.copytree(built, tmp_path / "out")


def test_the_report_says_so(tree):
    assert WORDS in write_participant(tree, "sub-01").read_text()
    assert "sloppy" not in write_participant(tree, "sub-02").read_text().replace(".pill.sloppy", "")


def test_group_page_index_and_tables_say_so(tree):
    page = run_group(tree).read_text()
    assert f"1 of 2: {WORDS[0].lower()}{WORDS[1:]}" in page
    for text in (page, (tree / "index.html").read_text()):
        assert text.count('<span class="pill sloppy">') == 1
    for name in ("group_volumes", "group_quality"):
        with (tree / f"{name}.tsv").open() as file:
            assert [row["sloppy"] for row in csv.DictReader(file, delimiter="\t")] == ["yes", "no"]
        assert WORDS in json.loads((tree / f"{name}.json").read_text())["sloppy"]["Description"]


def test_tables_of_proper_results_have_no_such_column(tree):
    status = tree / "logs" / "status" / "sub-01.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"settings": {"sloppy": False}}))
    assert "sloppy" not in run_group(tree).read_text().replace(".pill.sloppy", "")
    assert "sloppy" not in (tree / "group_volumes.tsv").read_text()


def test_dataset_description_and_methods_say_so_until_all_is_computed_properly(tree, tmp_path):
    def description():
        workflow.describe_dataset(tree, tmp_path, {})
        return json.loads((tree / "dataset_description.json").read_text())

    workflow.describe_dataset(tree, tmp_path, {}, sloppy=True)  # as the run that began it
    found = description()
    assert found["Name"].endswith("(sloppy)")
    assert WORDS in found["GeneratedBy"][0]["Description"]
    status = tree / "logs" / "status" / "sub-01.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"settings": {"sloppy": False}}))
    assert "sloppy" not in json.dumps(description())

    class Workflow:
        def visit_desc(self):
            return "The image was used."

    methods = workflow.write_methods(Workflow(), tree, sloppy=True).read_text()
    assert f"**{WORDS}.**" in methods
    assert "sloppy" not in workflow.write_methods(Workflow(), tree).read_text()


def test_who_takes_them_as_precomputed_inputs_is_told(tree, tmp_path, capsys):
    main.main(["check-derivatives", str(tree)])
    assert f"! {WORDS}" in capsys.readouterr().out
    folder = tmp_path / "sub-05" / "anat"
    folder.mkdir(parents=True)
    mask = folder / "sub-05_desc-brain_mask.nii.gz"
    mask.touch()
    image = folder / "sub-05_T1w.nii.gz"
    assert precomputed.find({"x": tmp_path}, "sub-05", image).notes == []
    mask.with_name("sub-05_desc-brain_mask.json").write_text(json.dumps({"Sloppy": True}))
    (note,) = precomputed.find({"x": tmp_path}, "sub-05", image).notes
    assert "--sloppy" in note and mask.name in note
