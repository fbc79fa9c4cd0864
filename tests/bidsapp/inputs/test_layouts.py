"""Datasets as they are: layouts in the manner of the bids-examples, content that was not fetched, size."""

import json
import time

import pytest
import yaml

from brainseg.bidsapp.cli.bids import main, parse
from brainseg.bidsapp.inputs import select as dataset
from brainseg.models.errors import InputError
from brainseg.models.io import conform, datalad
from helpers import DATA

LAYOUTS = yaml.safe_load((DATA / "layouts.yaml").read_text())


def select(root, *argv):
    return dataset.select(parse([str(root), str(root.parent / "out"), "participant", *map(str, argv)]))


def names(paths):
    return [path.name.split(".")[0] for path in paths]


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    from niworkflows.utils.testing import generate_bids_skeleton

    case = LAYOUTS[name]
    generate_bids_skeleton(tmp_path / "bids", case["dataset"])
    argv = list(case.get("argv", []))
    if "filter" in case:
        (tmp_path / "filter.json").write_text(json.dumps(case["filter"]))
        argv += ["--bids-filter-file", tmp_path / "filter.json"]
    found = {ps.key: ps for ps in select(tmp_path / "bids", *argv).participant_sessions}
    assert sorted(found) == sorted(case["participant_sessions"])
    for key, listed in case["participant_sessions"].items():
        participant_session = found[key]
        if listed is None:
            assert "no image to work on" in str(participant_session.problem)
            continue
        assert participant_session.problem is None
        assert names([participant_session.image]) == listed[:1]
        for mark, paths in {
            "+": participant_session.other_contrasts,
            "-": participant_session.left_out,
            "=": participant_session.averaged,
        }.items():
            assert names(paths) == [text[1:] for text in listed[1:] if text[0] == mark], mark


@pytest.fixture
def annexed(tmp_path):
    """A dataset as DataLad installs it: some content is there, some is not."""
    root = tmp_path / "bids"
    for number in (1, 2, 3):
        (root / f"sub-0{number}" / "anat").mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").touch()
    missing = "../../.git/annex/objects/xx/yy/MD5E-s1--0.nii.gz/MD5E-s1--0.nii.gz"
    for name in ("sub-01/anat/sub-01_T2w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"):
        (root / name).symlink_to(missing)
    pointer = "/annex/objects/MD5E-s1--0.nii.gz\n"
    (root / "sub-03" / "anat" / "sub-03_T1w.nii.gz").write_text(pointer)
    return root


def test_content_that_was_not_fetched_is_named_with_the_command(annexed):
    found = select(annexed)
    first, second, third = found.participant_sessions
    assert first.problem is None
    assert first.other_contrasts == []
    t2w = annexed / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    assert f"(datalad get -d {annexed} {t2w})" in first.notes[0]
    for ps in (second, third):
        assert str(ps.problem) == (
            f"{ps.image}: its content is not on this machine. Run: datalad get -d {annexed} {ps.image}."
        )
    assert found.notes[1:] == [
        "The content of 2 images is not on this machine; run: "
        + datalad.command(annexed, [second.image, third.image])
    ]


def test_it_is_told_before_anything_runs(annexed, tmp_path, capsys):
    assert main([str(annexed), str(tmp_path / "out"), "participant", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "sub-02  would fail: " in said
    assert "datalad get -d" in said


@pytest.mark.parametrize("name", ["sub-02/anat/sub-02_T1w.nii.gz", "sub-03/anat/sub-03_T1w.nii.gz"])
def test_a_scan_without_content_is_refused_by_name(annexed, name):
    with pytest.raises(InputError, match=r"its content is not on this machine.*datalad get"):
        conform.read(annexed / name)


def test_a_sidecar_without_content_is_named(annexed):
    sidecar = annexed / "sub-01" / "anat" / "sub-01_T1w.json"
    sidecar.symlink_to("../../.git/annex/objects/none")
    problem = select(annexed).participant_sessions[0].problem
    assert str(sidecar) in str(problem)
    assert "Run: datalad get" in str(problem)


def test_what_is_fetched_is_no_pointer(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"\x1f\x8b" + b"/annex/objects/" * 3)
    assert not datalad.absent(path)
    link = tmp_path / "link.nii.gz"
    link.symlink_to(path)
    assert not datalad.absent(link)


@pytest.mark.slow
def test_many_participants_are_found_quickly(tmp_path):
    """A tenth of 2,000 participants takes a tenth of two minutes, by CPU time."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (root / "T1w.json").write_text('{"RepetitionTime": 2.3}')
    for number in range(200):
        name = f"sub-{number:04d}"
        for folder, files in {
            "anat": ["T1w.nii.gz", "T1w.json", "T2w.nii.gz"],
            "func": ["task-a_bold.nii.gz"],
        }.items():
            (root / name / folder).mkdir(parents=True)
            for file in files:
                (root / name / folder / f"{name}_{file}").write_text("{}")
    began = time.process_time()
    assert len(select(root).participant_sessions) == 200
    assert time.process_time() - began < 12


@pytest.mark.slow
def test_two_thousand_participants_are_indexed_in_seconds(tmp_path, nifti, capsys):
    bids = tmp_path / "bids"
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.9.0"}')
    scan = nifti(tmp_path / "scan.nii.gz", (4, 4, 4)).read_bytes()
    for number in range(2000):
        folder = bids / f"sub-{number:04d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:04d}_T1w.nii.gz").write_bytes(scan)
    begin = time.process_time()
    argv = [str(bids), str(tmp_path / "out"), "participant", "--dry-run", "--skip-bids-validation"]
    assert main(argv) == 0
    assert time.process_time() - begin < 60
    assert "2000 selected" in capsys.readouterr().out


@pytest.mark.slow
def test_one_of_ten_thousand_is_found_within_seconds(tmp_path, nifti):
    """An array of jobs asks so for each: nothing may look at every participant's folder."""
    bids, scan = tmp_path / "bids", nifti(tmp_path / "scan.nii.gz", (4, 4, 4)).read_bytes()
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.9.0"}')
    for number in range(10_000):
        folder = bids / f"sub-{number:05d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:05d}_T1w.nii.gz").write_bytes(scan)
    rows = [f"sub-{number:05d}\t{20 + number % 60}\tF" for number in range(10_000)]
    (bids / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex", *rows]) + "\n")
    begin = time.process_time()
    (found,) = select(bids, "--participant-label", "05000").participant_sessions
    assert time.process_time() - begin < 4
    assert (found.key, found.age) == ("sub-05000", 40.0)
