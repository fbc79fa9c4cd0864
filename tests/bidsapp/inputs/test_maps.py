"""Atlases and maps of a study: which files are measured for whom, and what makes a run compute again."""

from pathlib import Path

import pytest

from brainseg.bidsapp.config.settings import Settings
from brainseg.bidsapp.inputs import precomputed
from brainseg.models.errors import InputError


@pytest.fixture
def dataset(tmp_path) -> Path:
    for name in (
        "sub-01/ses-1/anat/sub-01_ses-1_T2w",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-x_T2w",
        "qmri/sub-02",
    ):
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "key", "name"),
    [
        ("{folder}/anat/{key}_T2w.nii.gz", "sub-01_ses-1", "sub-01_ses-1_T2w.nii.gz"),
        ("{folder}/anat/*acq-x_T2w.nii.gz", "sub-01_ses-1", "sub-01_ses-1_acq-x_T2w.nii.gz"),
        ("qmri/sub-{participant}.nii.gz", "sub-02", "sub-02.nii.gz"),
        ("{root}/qmri/sub-02.nii.gz", "sub-02", "sub-02.nii.gz"),
    ],
)
def test_maps_are_found(dataset, text, key, name):
    found, notes = precomputed.maps({"Map": text.replace("{root}", str(dataset))}, dataset, key)
    assert (found["Map"].name, notes) == (name, [])


def test_maps_of_others_and_missing_ones_are_told(dataset):
    paths = {"Own": str(dataset / "qmri" / "sub-02.nii.gz"), "None": "{key}_T1map.nii.gz"}
    found, notes = precomputed.maps(paths, dataset, "sub-01_ses-1")
    assert found == {}
    assert notes[0].startswith("The map Own was not measured")
    assert "sub-01_ses-1_T1map.nii.gz" in notes[1]
    with pytest.raises(InputError, match="2 files could be the map Any"):
        precomputed.maps({"Any": "{folder}/anat/*_T2w.nii.gz"}, dataset, "sub-01_ses-1")


def test_a_changed_atlas_is_computed_again(tmp_path):
    image = tmp_path / "lab_dseg.nii.gz"
    image.write_bytes(b"one")
    image.with_name("lab_dseg.tsv").write_text("index\tname\n1\tOne\n")
    settings = Settings(tmp_path, tmp_path / "out", ("participant",), atlases=(f"Lab={image}",))
    before = settings.that_matter
    assert settings.that_matter == before
    image.write_bytes(b"two")
    assert settings.that_matter["atlases"] != before["atlases"]
