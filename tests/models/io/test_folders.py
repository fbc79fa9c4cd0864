"""Files below a folder."""

from brainseg.models.io.folders import IMAGES, files_below


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_subjects_that_are_links_to_folders_elsewhere_are_found(tmp_path):
    _touch(tmp_path / "store" / "a" / "anat" / "sub-01_dseg.nii.gz")
    study = tmp_path / "study"
    _touch(study / "sub-02" / "anat" / "sub-02_dseg.nii")
    _touch(study / "sub-02" / ".git" / "x.nii")
    (study / "sub-01").symlink_to(tmp_path / "store" / "a")
    (study / "sub-02" / "round").symlink_to(study)
    (study / "sub-02" / "gone_dseg.nii").symlink_to(study / "nowhere")
    found = [str(path.relative_to(study)) for path in files_below(study, *IMAGES)]
    assert found == [
        "sub-01/anat/sub-01_dseg.nii.gz",
        "sub-02/anat/sub-02_dseg.nii",
        "sub-02/gone_dseg.nii",
    ]
