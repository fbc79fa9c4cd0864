"""``brainseg pseudolabel`` on folders: scans, those left out and why, and what is computed again."""

import csv
import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.tools import anatomy
from brainseg.bidsapp.tools.pseudolabels import command, sources
from brainseg.models.errors import InputError
from brainseg.models.registration import registration
from brainseg.training.supervised import cases
from helpers import quick_science

AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
SCORES = {"sub-01": (0.9, "pass"), "sub-02": (0.6, "check"), "sub-03": (0.9, "fail"), "sub-04": (0.8, "pass")}


def _ball(moved: int = 0) -> np.ndarray:
    axes = np.indices((16, 16, 16)) - 8
    axes[0] -= moved
    return 17 * (np.sqrt((axes**2).sum(0)) < 5)


def _save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.int16), AFFINE), path)
    return path


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A dataset of four participants, an atlas, and a chain that segments balls; ``computed`` lists scans."""
    root = tmp_path / "bids"
    for k in range(1, 5):
        moved = 4 if k == 4 else 0  # sub-04 does not fit the atlas after the registration
        _save(root / f"sub-0{k}" / "anat" / f"sub-0{k}_T1w.nii.gz", 10 * _ball(moved))
    _save(tmp_path / "atlas_T1w.nii.gz", 10 * _ball())
    _save(tmp_path / "atlas_dseg.nii.gz", _ball() // 17 * 5)
    computed, registered = [], []

    def processed(path, *_):
        computed.append(path.name)
        if "broken" in path.name:
            raise InputError(path, "there is no brain in it", "Check the image")
        return quick_science.processed(path)

    def register(scan, atlas, **_):
        registered.append(scan)
        return quick_science.register(scan, atlas)

    monkeypatch.setattr(anatomy, "processed", processed)
    monkeypatch.setattr(registration, "register", register)
    rated = lambda done: dict(zip(("score", "verdict"), SCORES.get(done.name, (0.9, "pass")), strict=True))  # noqa: E731
    monkeypatch.setattr(command, "_rated", rated)
    return SimpleNamespace(root=root, out=tmp_path / "out", computed=computed, registered=registered)


def _run(study, *words, scans=None):
    folder = study.root.parent
    given = ["pseudolabel", folder / "atlas_T1w.nii.gz", folder / "atlas_dseg.nii.gz"]
    given += [*(scans or [study.root]), "--out", study.out, "--device", "cpu", "--threads", 1, *words]
    return main.main([str(word) for word in given])


def _rows(study, name="scans.tsv"):
    return list(csv.DictReader((study.out / name).read_text().splitlines(), delimiter="\t"))


def test_scans_of_low_quality_are_left_out_with_the_reason(study):
    assert _run(study, "--min-quality", 0.7) == 0
    rows = _rows(study)
    assert [row["kept"] for row in rows] == ["yes", "no", "no", "no"]
    reasons = [row["reason"] for row in rows]
    assert reasons[:3] == ["n/a", "expected Dice 0.600 is below 0.7", "QC rating fail"]
    assert reasons[3].startswith("overlap 0.") and float(rows[3]["overlap"]) < 0.7
    assert len(study.registered) == 2, "scans that are rated badly are not registered"
    (labels,) = study.out.rglob("*_dseg.nii.gz")
    assert labels == study.out / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    found = nib.load(labels)
    np.testing.assert_array_equal(np.asarray(found.dataobj), _ball() // 17 * 5)
    assert found.get_data_dtype() == np.uint8


def test_recipes_for_labels_read_the_pairs(study):
    assert _run(study, "--min-quality", 0.55) == 0
    found = cases.find(study.out / "pairs.tsv", ["T1w"])
    assert [case.participant for case in found] == ["sub-01", "sub-02"]
    assert found[0].images[0].is_file() and found[0].labels.is_file()


def test_nothing_is_computed_twice(study):
    assert _run(study, "--min-quality", 0.7) == 0
    before = len(study.computed)
    assert _run(study, "--min-quality", 0.7) == 0
    assert len(study.computed) == before, "neither labeled scans nor those left out"
    assert _run(study, "--min-quality", 0.95) == 0
    assert len(study.computed) == before and not list(study.out.rglob("*_dseg.nii.gz"))
    assert [row["kept"] for row in _rows(study)] == ["no"] * 4
    assert _run(study) == 0, "without a limit all have labels"
    assert len(list(study.out.rglob("*_dseg.nii.gz"))) == 4
    before = len(study.computed)
    _save(study.root / "sub-02" / "anat" / "sub-02_T1w.nii.gz", 11 * _ball())
    assert _run(study) == 0
    assert study.computed[before:] == ["sub-02_T1w.nii.gz", "atlas_T1w.nii.gz"], "a changed scan is"


def test_ratings_of_derivatives_count_before_anything_is_computed(study, tmp_path):
    derived = tmp_path / "derivatives"
    for name, score, rating in (("sub-01", 0.85, "pass"), ("sub-02", 0.5, "pass"), ("sub-03", 0.9, "fail")):
        folder = derived / name / "ses-1" / "anat"
        _save(folder / f"{name}_ses-1_desc-preproc_T1w.nii.gz", 10 * _ball())
        _save(folder / f"{name}_ses-1_space-MNI_desc-preproc_T1w.nii.gz", 10 * _ball())
        quality = folder / f"{name}_ses-1_desc-quality_metrics.json"
        quality.write_text(json.dumps({"Verdict": rating, "Score": score}))
    assert _run(study, "--min-quality", 0.7, scans=[derived]) == 0
    assert [row["kept"] for row in _rows(study)] == ["yes", "no", "no"]
    assert study.computed == ["sub-01_ses-1_desc-preproc_T1w.nii.gz", "atlas_T1w.nii.gz"]
    assert (study.out / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_dseg.nii.gz").is_file()
    assert _rows(study)[0]["expected_dice"] == "0.8500"


def test_a_scan_that_fails_stops_no_other(study, capsys):
    _save(study.root / "sub-00" / "anat" / "sub-00_acq-broken_T1w.nii.gz", _ball())
    assert _run(study) == 1
    assert [row["kept"] for row in _rows(study)] == ["no", "yes", "yes", "yes", "yes"]
    assert _rows(study)[0]["reason"] == "there is no brain in it"
    before = len(study.computed)
    assert _run(study) == 1
    assert study.computed[before:] == ["sub-00_acq-broken_T1w.nii.gz"], "failures are tried again"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min-quality", "80"], "--min-quality 80 is no Dice"),
        (["--suffix", "T2w"], "there is no image sub-*_T2w"),
    ],
)
def test_mistakes(study, words, said, capsys):
    assert _run(study, *words) == 2
    assert said in capsys.readouterr().err and study.computed == []


def test_derived_images_in_a_dataset_are_no_scans(tmp_path):
    root = tmp_path / "bids"
    _save(root / "sub-1" / "anat" / "sub-1_T1w.nii.gz", _ball())
    _save(root / "derivatives" / "x" / "sub-1" / "anat" / "sub-1_desc-preproc_T1w.nii.gz", _ball())
    (found,) = sources.find([root], "T1w")
    assert found.image.name == "sub-1_T1w.nii.gz" and found.out_name == "sub-1/anat/sub-1"
