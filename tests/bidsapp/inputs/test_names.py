"""Whose image it is: the names of files and folders, and what is said of wrong ones."""

from pathlib import PurePath

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import names, precomputed, select
from brainseg.models.errors import DatasetError


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset of empty files with these paths, below a folder of this name."""

    def make(*paths, below="data"):
        root = tmp_path / below / "study"
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
        return root

    return make


def _select(root, *argv):
    return select.select(parse([str(root), str(root.parent / "out"), "participant", *map(str, argv)]))


def _problems(found):
    return {ps.key: str(ps.problem) for ps in found.participant_sessions if ps.problem}


@pytest.mark.parametrize(
    ("below", "stored"),
    [("sub-01", 0), ("sub-proj", 1), ("ses-A_run-3", 0), ("func", 0), ("sub-01/ses-2/anat", 0)],
)
def test_folders_above_the_dataset_say_nothing_of_its_images(dataset, tmp_path, below, stored):
    images = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"]
    images += ["sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz", "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz"]
    root = dataset(*images, below=below)
    argv = ["--bids-database-dir", tmp_path / "index"] if stored else []
    found = _select(root, *argv).participant_sessions
    assert [ps.key for ps in found] == ["sub-01", "sub-02", "sub-03_ses-1", "sub-03_ses-2"]
    assert [ps.image for ps in found] == [root / image for image in images]
    assert "run" not in found[0].entities
    means = _select(root, *argv, "--subject-anatomical-reference", "unbiased").participant_sessions
    assert [len(ps.averaged) for ps in means] == [0, 0, 2]


def test_an_image_in_the_folder_of_another_is_nobodys(dataset):
    root = dataset(
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-17/anat/sub-18_T1w.nii.gz",
        "sub-19/anat/sub-20_T1w.nii.gz",
        "sub-19/anat/sub-19_T2w.nii.gz",
    )
    found = _select(root)
    problems = _problems(found)
    assert "its name says ses-1, its folder ses-2" in problems["sub-01_ses-2"]
    assert "its name says sub-18, its folder sub-17" in problems["sub-17"]
    assert set(problems) == {"sub-01_ses-2", "sub-17"}
    left = {ps.key: ps for ps in found.participant_sessions}["sub-19"]
    assert left.image.name == "sub-19_T2w.nii.gz"
    assert any("sub-20_T1w.nii.gz is not used: its name says sub-20" in note for note in left.notes)
    assert any("sub-20_T1w.nii.gz" in note for note in found.notes)


def test_a_name_without_the_session_of_its_folder_is_refused(dataset):
    """Two of them would write the same files."""
    root = dataset("sub-01/ses-1/anat/sub-01_T1w.nii.gz")
    assert "BIDS wants sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz" in _problems(_select(root))["sub-01_ses-1"]


def test_a_participant_whose_label_goes_on_is_another_one(dataset):
    """pybids reads ``sub-Pat_08`` as ``sub-Pat``."""
    root = dataset("sub-Pat/anat/sub-Pat_T1w.nii.gz", "sub-Pat_08/anat/sub-Pat_08_T1w.nii.gz")
    found = _select(root, "--subject-anatomical-reference", "unbiased")
    assert [ps.key for ps in found.participant_sessions] == ["sub-Pat", "sub-Pat_08"]
    assert found.participant_sessions[0].averaged == []
    assert "BIDS wants sub-Pat08/anat/sub-Pat08_T1w.nii.gz" in _problems(found)["sub-Pat_08"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("sub-11/anat/sub-11_T1W.nii.gz", "sub-11/anat/sub-11_T1w.nii.gz"),
        ("sub-12/anat/sub-12_T1w.NII.GZ", "sub-12/anat/sub-12_T1w.nii.gz"),
        ("sub-09/anat/sub-09_T1w__dup-01.nii.gz", "sub-09/anat/sub-09_run-2_T1w.nii.gz"),
        ("sub-13/sub-13_T1w.nii.gz", "sub-13/anat/sub-13_T1w.nii.gz"),
        ("sub-13/ses-1/sub-13_ses-1_acq-a_t1.nii", "sub-13/ses-1/anat/sub-13_ses-1_acq-a_T1w.nii"),
        ("sub-14/Anat/mprage.nii.gz", "sub-14/anat/sub-14_T1w.nii.gz"),
        ("sub-15/anat/SUB-15_flair.nii.gz", "sub-15/anat/sub-15_FLAIR.nii.gz"),
        ("sub-16/anat/sub-16_T1w.img", "sub-16/anat/sub-16_T1w.nii.gz"),
    ],
)
def test_near_misses_are_named_with_the_name_that_bids_wants(dataset, path, wanted):
    root = dataset(path)
    (problem,) = _problems(_select(root)).values()
    assert f"found {path}, and BIDS wants {wanted}" in problem
    assert _problems(_select(dataset(wanted))) == {}


def test_a_name_that_is_taken_is_not_proposed(dataset):
    """To rename the image would overwrite the good one."""
    good, other = "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1.nii.gz"
    root = dataset(good, other, "sub-01/anat/sub-01_run-2_T1w.nii")
    (ps,) = _select(root).participant_sessions
    (note,) = [note for note in ps.notes if "sub-01_T1.nii.gz" in note]
    assert f"found {other}, but {good} exists already" in note
    assert note.endswith("or rename one as another run: sub-01_run-3_T1w.nii.gz.")
    (root / good).rename(root / "sub-01/anat/sub-01_T1w.nii")
    assert "sub-01_T1w.nii exists already" in names.fault(root, PurePath(other)).reason
    echo = dataset("sub-02/anat/sub-02_echo-1_T1.nii", "sub-02/anat/sub-02_echo-1_T1w.nii")
    fault = names.fault(echo, PurePath("sub-02/anat/sub-02_echo-1_T1.nii"))
    assert fault.remedy.endswith(": sub-02_run-2_echo-1_T1w.nii")


def test_a_filter_that_selects_no_image_of_a_participant_is_the_reason(dataset, tmp_path):
    root = dataset(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1.nii.gz",
        "sub-02/anat/sub-02_acq-a_T1w.nii.gz",
    )
    path = tmp_path / "filter.json"
    path.write_text('{"t1w": {"acquisition": "a"}}')
    problems = _problems(_select(root, "--bids-filter-file", path))
    assert set(problems) == {"sub-01"}
    assert "0 of 1 images of sub-01 (sub-01_T1w.nii.gz)" in problems["sub-01"]
    assert str(path) in problems["sub-01"]


def test_all_images_with_wrong_names_are_counted(dataset):
    root = dataset("sub-01/anat/sub-01_T1W.nii.gz", "sub-01/anat/sub-01_t2.nii.gz")
    assert any(note.startswith("1 more image is not used for the name") for note in _select(root).notes)
    root = dataset("sub-01/anat/sub-01_T1w.nii.gz")
    assert any(note.startswith("2 images are not used for the name") for note in _select(root).notes)


def test_names_that_bids_knows_are_no_near_misses():
    for name in ("sub-1_T1w", "sub-1_acq-x_run-02_T2w", "sub-1_T1map", "sub-1_inplaneT1", "sub-1_MP2RAGE"):
        assert names.fault(PurePath("/d"), PurePath(f"sub-1/anat/{name}.nii.gz")) is None, name


def test_folders_that_are_nearly_participants_are_named(dataset):
    root = dataset("Sub-01/anat/Sub-01_T1w.nii.gz", "sub_02/anat/sub_02_T1w.nii.gz")
    with pytest.raises(DatasetError, match="Found Sub-01, sub_02; BIDS wants names like sub-01"):
        _select(root)
    root = dataset("sub-03/anat/sub-03_T1w.nii.gz")
    assert any("Sub-01, sub_02" in note for note in _select(root).notes)


def test_a_refused_label_has_its_report_and_its_row(app, dataset, tmp_path, capsys):
    """The tables name ``sub-Pat_08``, not ``sub-Pat``."""
    root, out = dataset("sub-Pat_08/anat/sub-Pat_08_T1w.nii.gz"), tmp_path / "out"
    assert app(root, out, "participant", "group") == 1
    assert "could not be written" not in capsys.readouterr().out
    assert "BIDS wants sub-Pat08" in (out / "sub-Pat_08.html").read_text()
    for name in ("group_missing.tsv", "group_exclusions.tsv"):
        row = (out / name).read_text().splitlines()[1].split("\t")
        assert row[:2] == ["sub-Pat_08", "n/a"], name


def test_a_precomputed_mask_of_somebody_else_is_not_used(tmp_path):
    folder = tmp_path / "sub-17" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-18_desc-brain_mask.nii.gz").touch()
    found = precomputed.find({"x": tmp_path}, "sub-17", folder / "sub-17_T1w.nii.gz")
    assert found.files == {}
    assert "its name says sub-18, its folder sub-17" in found.notes[0]
    (folder / "sub-17_desc-brain_mask.nii.gz").touch()
    assert set(precomputed.find({"x": tmp_path}, "sub-17", folder / "sub-17_T1w.nii.gz").files) == {"mask"}
