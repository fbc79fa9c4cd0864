"""Only labels of one table are compared, under their right names."""

import nibabel as nib
import numpy as np
import pytest

from brainseg.models.errors import InputError, UsageError
from brainseg.training.evaluation import segmentation

ADULT = (2, 3, 10, 16, 41, 42, 49)


def _blocks(labels=ADULT):
    """Slabs of two voxels, one for each label."""
    out = np.zeros((2 * len(ADULT) + 4, 8, 8), np.int16)
    for k, label in enumerate(labels):
        out[2 + 2 * k : 4 + 2 * k, 2:6, 2:6] = label
    return out


def _as(values, **of):
    """Return labels with other values: ``_as(x, **{"2": 1})``."""
    out = np.zeros_like(values)
    for old, new in of.items():
        out[values == int(old)] = new
    return out


TISSUES = {"2": 2, "3": 1, "10": 1, "16": 2, "41": 2, "42": 1, "49": 1}


def _save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def test_tissues_are_named_as_tissues(tmp_path):
    tissues = _as(_blocks(), **TISSUES)
    ref, pred = _save(tmp_path / "a_dseg.nii.gz", tissues), _save(tmp_path / "b_dseg.nii.gz", tissues)
    frame = segmentation.evaluate_paths(ref, pred)
    assert list(frame.name) == ["Gray Matter", "White Matter"] and (frame.dice == 1).all()
    six = [_save(tmp_path / f"{name}_desc-tissue_dseg.nii.gz", tissues) for name in "ab"]
    assert list(segmentation.evaluate_paths(*six).name) == ["gm", "wm"]


def test_labels_that_fit_several_tables_keep_their_numbers_until_a_table_is_given(tmp_path):
    values = _blocks((1, 2, 3, 4))
    ref, pred = _save(tmp_path / "a.nii.gz", values), _save(tmp_path / "b.nii.gz", values)
    frame = segmentation.evaluate_paths(ref, pred)
    assert list(frame.name) == ["1", "2", "3", "4"] and "choose one with --table" in frame.attrs["notes"][0]
    frame = segmentation.evaluate_paths(ref, pred, table="feta")
    assert frame.name[0] == "Extra-axial cerebrospinal fluid" and not frame.attrs["notes"]
    own = tmp_path / "own.tsv"
    own.write_text("index\tname\n1\tone\n2\ttwo\n3\tthree\n4\tfour\n")
    assert list(segmentation.evaluate_paths(ref, pred, table=str(own)).name) == [
        "one",
        "two",
        "three",
        "four",
    ]
    with pytest.raises(UsageError, match="no such label table"):
        segmentation.evaluate_paths(ref, pred, table="mine")
    with pytest.raises(InputError, match=r"labels 4 are not in the label table dseg"):
        segmentation.evaluate_paths(ref, pred, table="dseg")


def test_tissues_are_not_scored_against_structures(tmp_path):
    ref = _save(tmp_path / "a_dseg.nii.gz", _as(_blocks(), **TISSUES))
    pred = _save(tmp_path / "b_dseg.nii.gz", _blocks())
    with pytest.raises(InputError, match=r"structures.*REF are tissues.*--table dseg"):
        segmentation.evaluate_paths(ref, pred)
    for both in ((ref, pred), (pred, ref)):
        frame = segmentation.evaluate_paths(*both, table="dseg")
        assert list(frame.name) == ["Gray Matter", "White Matter"] and (frame.dice == 1).all()


def test_freesurfer_segmentations_are_scored_with_their_mapping(tmp_path):
    aparc = _as(_blocks(), **{"2": 77, "3": 1024, "10": 10, "16": 16, "41": 41, "42": 2024, "49": 49})
    ref, pred = _save(tmp_path / "aparc.nii.gz", aparc), _save(tmp_path / "b.nii.gz", _blocks())
    for both, name in (((ref, pred), "mapping"), ((pred, ref), "mapping_pred")):
        with pytest.raises(InputError, match=r"77, 1024, 2024.*--" + name.replace("_", "-")):
            segmentation.evaluate_paths(*both)
        frame = segmentation.evaluate_paths(*both, **{name: "freesurfer"})
        assert (frame.dice == 1).all() and "Left-Cerebral-Cortex" in set(frame.name)
        assert 2 not in set(frame["index"]), "hypointensities of an unknown side are not scored"


def test_labels_of_two_unknown_tables_are_refused(tmp_path):
    ref = _save(tmp_path / "a.nii.gz", _blocks((301, 302, 303)))
    pred = _save(tmp_path / "b.nii.gz", _blocks((401, 402, 403)))
    with pytest.raises(InputError, match="different tables"):
        segmentation.evaluate_paths(ref, pred)
    frame = segmentation.evaluate_paths(ref, ref)
    assert list(frame.name) == ["301", "302", "303"] and "in no label table" in frame.attrs["notes"][0]


@pytest.mark.parametrize("numbers", [(1, 2, 3), (2, 3, 41, 42)])
def test_other_numbers_for_the_same_regions_are_refused(tmp_path, numbers):
    ref = _save(tmp_path / "a.nii.gz", _blocks(numbers))
    pred = _save(tmp_path / "b.nii.gz", _blocks(numbers[::-1] if len(numbers) > 3 else (3, 1, 2)))
    with pytest.raises(InputError, match=r"numbered otherwise: .* of REF is .* of PRED \(Dice 1\.00\)"):
        segmentation.evaluate_paths(ref, pred)


def test_a_poor_segmentation_is_scored(tmp_path):
    ref = _save(tmp_path / "a.nii.gz", _blocks())
    pred = _save(tmp_path / "b.nii.gz", np.roll(_blocks(), 4, 1))
    assert segmentation.evaluate_paths(ref, pred).dice.max() == 0


def test_files_of_two_kinds_in_a_folder_are_refused(tmp_path):
    for side in ("ref", "pred"):
        _save(tmp_path / side / "a.nii.gz", _blocks())
        _save(tmp_path / side / "b.nii.gz", _as(_blocks(), **TISSUES))
    with pytest.raises(InputError, match=r"b\.nii\.gz: its labels are tissues.*a\.nii\.gz are structures"):
        segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")


def test_a_patient_without_lesions_found_clean_scores_one(tmp_path):
    lesion = _blocks((1,))
    for name, truth, found in (
        ("a", lesion, lesion),
        ("b", lesion * 0, lesion * 0),
        ("c", lesion * 0, lesion),
    ):
        _save(tmp_path / "ref" / f"sub-{name}_label-lesion_mask.nii.gz", truth)
        _save(tmp_path / "pred" / f"sub-{name}_label-lesion_mask.nii.gz", found)
    frame = segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")
    assert list(frame.dice) == [1, 1, 0] and set(frame.name) == {"mask"}


def test_structures_that_no_reference_has_are_said(tmp_path):
    ref = _save(tmp_path / "a.nii.gz", _blocks((2, 3, 10)))
    pred = _save(tmp_path / "b.nii.gz", _blocks((2, 3, 10, 16)))
    frame = segmentation.evaluate_paths(ref, pred)
    assert frame.attrs["notes"] == (
        "no reference has 1 labels of the predictions (Brain-Stem): their Dice is 0",
    )


def test_references_in_linked_folders_are_found(tmp_path):
    for side in ("ref", "pred"):
        _save(tmp_path / "store" / side / "sub-01_dseg.nii.gz", _blocks())
        (tmp_path / side).mkdir()
        (tmp_path / side / "sub-01").symlink_to(tmp_path / "store" / side)
    frame = segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")
    assert set(frame.case) == {"sub-01_dseg"}
