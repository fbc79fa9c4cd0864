"""Overlap and surface metrics with answers that are known by hand, and the pairing of folders."""

import doctest
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.training.evaluation import label_files, metrics, segmentation


@pytest.fixture
def cube():
    mask = np.zeros((24, 24, 24), bool)
    mask[4:12, 4:12, 4:12] = True
    return mask


def test_examples():
    assert doctest.testmod(metrics).failed == 0


def test_identical_masks(cube):
    found = metrics.agreement(cube, cube, (0.5, 1.0, 2.0))
    assert (found.dice, found.hd95_mm, found.assd_mm, found.volume_error_percent) == (1, 0, 0, 0)
    assert found.reference_mm3 == found.predicted_mm3 == 512


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.0, 2.5)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_cube(cube, axis, spacing):
    found = metrics.agreement(cube, np.roll(cube, 2, axis), spacing)
    assert found.dice == pytest.approx(6 / 8)
    # the outer face lies two voxels off and is more than 5 % of the surface
    assert found.hd95_mm == pytest.approx(2 * spacing[axis])
    assert 0 < found.assd_mm < found.hd95_mm


def test_distant_cube(cube):
    found = metrics.agreement(cube, np.roll(cube, 12, 0), (2.0, 1.0, 1.0))
    assert found.dice == 0
    # from the far face 12 voxels of 2 mm, from the near face 5 of them
    assert found.hd95_mm == pytest.approx(24)


def test_larger_cube(cube):
    larger = np.zeros_like(cube)
    larger[3:13, 3:13, 3:13] = True
    found = metrics.agreement(cube, larger)
    assert found.volume_error_percent == pytest.approx(100 * (1000 - 512) / 512)
    assert found.dice == pytest.approx(2 * 512 / 1512)
    # to the smaller cube: 1 over its faces, more over edges and corners
    there, back = metrics.surface_distances(cube, larger)
    assert there.max() == 1
    assert back.max() == pytest.approx(np.sqrt(3))


def test_empty_masks(cube):
    nothing = np.zeros_like(cube)
    missed = metrics.agreement(cube, nothing)
    assert missed.dice == 0 and np.isnan(missed.hd95_mm) and missed.volume_error_percent == -100
    invented = metrics.agreement(nothing, cube)
    assert invented.dice == 0 and np.isnan(invented.volume_error_percent)
    assert np.isnan(metrics.agreement(nothing, nothing).dice)


def test_mask_at_the_edge_of_the_field_has_a_surface_there():
    full = np.ones((5, 5, 5), bool)
    there, _ = metrics.surface_distances(full, full)
    assert there.size == 125 - 27


def test_dice_by_class_agrees_with_agreement():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 12, 12, 12))
    scores = metrics.dice_by_class(torch.from_numpy(b), torch.from_numpy(a))
    for k in range(1, 5):
        assert scores[k] == pytest.approx(metrics.agreement(a == k, b == k, surfaces=False).dice, abs=1e-6)


def _labels(seed=0, shape=(12, 14, 16)):
    out = np.zeros(shape, np.int16)
    out[2:6, 2:8, 2:8] = 17
    out[7:11, 2:8, 2:8] = 53
    out[4:9, 9:12, 9:14] = 16
    rng = np.random.default_rng(seed)
    out[rng.random(shape) < 0.02 * seed] = 0
    return out


def _save(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, np.diag([1.0, 1.0, 1.5, 1]) if affine is None else affine)
    nib.save(image, path)
    return path


def test_two_files(tmp_path):
    ref, pred = _save(tmp_path / "a.nii.gz", _labels()), _save(tmp_path / "b.nii.gz", _labels(1))
    frame = segmentation.evaluate_paths(ref, pred, out=tmp_path / "out" / "scores.tsv")
    assert list(frame["index"]) == [16, 17, 53]
    assert list(frame["name"]) == ["Brain-Stem", "Left-Hippocampus", "Right-Hippocampus"]
    assert frame.dice.between(0.9, 0.999).all()
    lines = (tmp_path / "out" / "scores.tsv").read_text().splitlines()
    assert lines[0].split("\t") == segmentation.COLUMNS and len(lines) == 4
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scores.tsv"]


def test_orientation_does_not_matter(tmp_path):
    ref = _save(tmp_path / "a.nii.gz", _labels())
    turned = nib.load(ref).as_reoriented(nib.orientations.axcodes2ornt(("S", "L", "P")))
    nib.save(turned, tmp_path / "b.nii.gz")
    assert (segmentation.evaluate_paths(ref, tmp_path / "b.nii.gz").dice == 1).all()


def test_other_grid_is_refused_by_name_unless_resampled(tmp_path):
    ref = _save(tmp_path / "ref.nii.gz", _labels())
    fine = np.repeat(_labels(), 2, axis=2)
    affine = np.diag([1.0, 1.0, 0.75, 1])
    affine[2, 3] = -0.375
    pred = _save(tmp_path / "pred.nii.gz", fine, affine)
    with pytest.raises(InputError, match=r"pred\.nii\.gz.*grid.*ref\.nii\.gz.*--resample"):
        segmentation.evaluate_paths(ref, pred)
    assert (segmentation.evaluate_paths(ref, pred, resampled=True).dice == 1).all()


def test_bids_folders(tmp_path):
    for sub in ("01", "02"):
        for ses in ("1", "2"):
            where = f"sub-{sub}/ses-{ses}/anat/sub-{sub}_ses-{ses}"
            _save(tmp_path / "ref" / f"{where}_desc-manual_dseg.nii.gz", _labels())
            _save(tmp_path / "pred" / f"{where}_acq-x_desc-aseg_dseg.nii.gz", _labels(int(ses) - 1))
            _save(tmp_path / "pred" / f"{where}_acq-x_desc-tissue_dseg.nii.gz", _labels(3))
            _save(tmp_path / "pred" / f"{where}_acq-x_T1w.nii.gz", _labels(3))
    frame = segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")
    assert len(frame) == 4 * 3
    first = frame[frame.case.str.contains("ses-1")]
    assert (first.dice == 1).all() and (frame.dice.min() > 0.9)
    mean = segmentation.summarize(frame)
    assert (mean.cases == 4).all() and len(mean) == 3


def _derivatives(folder, template=True):
    """What the program writes: three tissues, structures and six tissues, each in two spaces."""
    for space in ("", "space-MNI152NLin2009cAsym_")[: 1 + template]:
        for desc, labels in (("", _tissues()), ("desc-aseg_", _labels()), ("desc-tissue_", _tissues())):
            _save(folder / "sub-01" / "anat" / f"sub-01_{space}{desc}dseg.nii.gz", labels)
    return folder


def _tissues():
    return np.searchsorted([0, 16, 17, 53], _labels()).astype(np.int16)


@pytest.mark.parametrize(
    ("template", "space"), [(False, ""), (True, ""), (True, "space-MNI152NLin2009cAsym_")]
)
@pytest.mark.parametrize("desc", ["", "desc-manual_"])
def test_own_derivatives_match_by_space_and_by_what_the_labels_are(tmp_path, template, space, desc):
    out = _derivatives(tmp_path / "out", template)
    for labels, found in ((_labels(), "desc-aseg_dseg"), (_tissues(), "dseg")):
        ref = _save(tmp_path / "ref" / f"sub-01_{space}{desc}dseg.nii.gz", labels)
        ((_, _, predicted),) = label_files.pairs(ref.parent, out)
        assert predicted.name == f"sub-01_{space}{found}.nii.gz"


def test_references_whose_labels_have_to_be_mapped_are_structures(tmp_path):
    out = _derivatives(tmp_path / "out")
    ref = _save(tmp_path / "ref" / "sub-01_dseg.nii.gz", _tissues())
    ((_, _, predicted),) = label_files.pairs(ref.parent, out, mapped=True)
    assert predicted.name == "sub-01_desc-aseg_dseg.nii.gz"


def test_derivatives_match_themselves_but_labels_of_neither_kind_are_doubtful(tmp_path):
    out = _derivatives(tmp_path / "out")
    assert all(reference == predicted for _, reference, predicted in label_files.pairs(out, out))
    many = _labels()
    many[many == 53], many[many == 16] = 1, 7
    _save(tmp_path / "ref" / "sub-01_dseg.nii.gz", many)
    with pytest.raises(InputError, match="more than one"):
        label_files.pairs(tmp_path / "ref", out)


def test_plain_folders(tmp_path):
    for name in ("a.nii.gz", "deep/b.nii"):
        _save(tmp_path / "ref" / name, _labels())
    _save(tmp_path / "pred" / "a.nii.gz", _labels())
    _save(tmp_path / "pred" / "b.nii.gz", _labels())
    frame = segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")
    assert set(frame.case) == {"a", "b"}


def test_missing_or_doubtful_predictions_are_errors(tmp_path):
    _save(tmp_path / "ref" / "sub-01_dseg.nii.gz", _labels())
    _save(tmp_path / "ref" / "sub-02_dseg.nii.gz", _labels())
    _save(tmp_path / "pred" / "sub-01_acq-a_dseg.nii.gz", _labels())
    with pytest.raises(InputError, match=r"no prediction for sub-02_dseg\.nii\.gz"):
        segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")
    _save(tmp_path / "pred" / "sub-02_dseg.nii.gz", _labels())
    _save(tmp_path / "pred" / "sub-01_acq-b_dseg.nii.gz", _labels())
    with pytest.raises(InputError, match="more than one"):
        segmentation.evaluate_paths(tmp_path / "ref", tmp_path / "pred")


def test_wrong_arguments(tmp_path):
    ref = _save(tmp_path / "a.nii.gz", _labels())
    with pytest.raises(MissingFileError, match=r"none\.nii"):
        segmentation.evaluate_paths(ref, tmp_path / "none.nii")
    with pytest.raises(UsageError, match="folder"):
        segmentation.evaluate_paths(ref, tmp_path)
    with pytest.raises(MissingFileError, match="neuromorphometrics"):
        segmentation.evaluate_paths(ref, ref, mapping="unheard-of")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(ref.read_bytes()[:60])
    with pytest.raises(InputError, match=r"broken\.nii\.gz"):
        segmentation.evaluate_paths(ref, broken)
    image = _save(tmp_path / "image.nii.gz", np.random.default_rng(0).random((12, 14, 16)).astype(np.float32))
    with pytest.raises(InputError, match="whole numbers"):
        segmentation.evaluate_paths(ref, image)


def test_mapping(tmp_path):
    """Neuromorphometrics ids become ours; what the protocol cuts otherwise is not scored."""
    ours = _labels()
    theirs = np.zeros_like(ours)
    theirs[ours == 17], theirs[ours == 53], theirs[ours == 16] = 48, 47, 35
    theirs[0, :, :] = 72  # vermis
    ours[0, :, :] = 8
    ref, pred = _save(tmp_path / "a.nii.gz", theirs), _save(tmp_path / "b.nii.gz", ours)
    frame = segmentation.evaluate_paths(ref, pred, mapping="neuromorphometrics")
    assert list(frame["index"]) == [16, 17, 53]
    assert (frame.dice == 1).all()
    theirs[0, 0, 0] = 250
    with pytest.raises(InputError, match=r"\[250\].*neuromorphometrics"):
        segmentation.evaluate_paths(_save(ref, theirs), pred, mapping="neuromorphometrics")


def test_neuromorphometrics_table_keeps_sides_and_covers_our_structures():
    from brainseg.models.population import labels

    mapping = segmentation.read_mapping("neuromorphometrics")
    table = labels.load("adult")
    assert mapping.structures == {label.index for label in table} - {0}
    for cortex in range(100, 208):
        assert mapping.structure[cortex] == (42 if cortex % 2 == 0 else 3)
    path = files("brainseg.training") / "sources" / "neuromorphometrics.tsv"
    for line in path.read_text().splitlines()[1:]:
        index, name, structure = line.split("\t")
        side = name.split()[0]
        if structure not in ("n/a", "0") and side in ("Left", "Right"):
            assert table[int(structure)].name.startswith(side), f"{index} {name} -> {structure}"
