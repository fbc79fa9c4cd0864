"""The label maps of a folder: linked subjects are found, images are not taken for maps."""

import nibabel as nib
import numpy as np
import pytest

from brainseg.models.errors import InputError
from brainseg.training.data.prepare import prepare
from brainseg.training.fetal import dataset
from brainseg.training.kinds import cache


@pytest.fixture
def study(tmp_path, toy):
    """A BIDS dataset of two linked subjects, each with an image and a segmentation."""
    store, study = tmp_path / "store", tmp_path / "study"
    store.mkdir()
    study.mkdir()
    for number, path in enumerate(toy.write(store), 1):
        subject = store / f"s{number}"
        (subject / "anat").mkdir(parents=True)
        path.rename(subject / "anat" / f"sub-{number}_dseg.nii.gz")
        _image(subject / "anat" / f"sub-{number}_T1w.nii.gz")
        (study / f"sub-{number}").symlink_to(subject)
    return study


def _image(path):
    data = np.random.default_rng(0).integers(0, 400, (20, 20, 20)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def test_segmentations_of_linked_subjects_train_and_images_beside_them_do_not(study, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(cache, "prepare", lambda paths, out, table: given.extend(paths))
    _, held_out, count = cache.heads(study, tmp_path / "out", "headmaps")
    assert [path.name for path in given] == ["sub-1_dseg.nii.gz", "sub-2_dseg.nii.gz"]
    assert held_out is None and count == 2


def test_fetuses_in_linked_folders_are_found(study):
    for path in study.glob("*/anat/*_T1w.nii.gz"):
        path.rename(path.with_name(path.name.replace("T1w", "T2w")))
    (study / "participants.tsv").write_text("participant_id\tgestational_age\nsub-1\t25\nsub-2\t30\n")
    assert [one.name for one in dataset.find(study)] == ["sub-1", "sub-2"]


def test_an_image_in_place_of_a_label_map_is_refused(tmp_path):
    path = _image(tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match=r"head\.nii\.gz: it has \d+ distinct values: it is an image"):
        prepare([path], tmp_path / "out.npz")


def test_a_map_of_tissues_is_refused(tmp_path):
    values = np.zeros((30, 30, 30), np.int16)
    values[5:25, 5:25, 5:25], values[10:20, 10:20, 10:20] = 3, 2
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match="2 structures of the source table headmaps, too few for a head"):
        prepare([tmp_path / "head.nii.gz"], tmp_path / "out.npz")
