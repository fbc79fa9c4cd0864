"""``brainseg register`` and ``brainseg pseudolabel``: files in, files out, mistakes told."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.tools import anatomy
from brainseg.interfaces import growth
from brainseg.models.errors import InputError
from brainseg.models.io import itk
from brainseg.models.population import populations
from brainseg.models.preprocessing import bias
from brainseg.models.registration import reference, registration
from brainseg.models.segmentation import segmentation, skullstrip
from helpers import heads_of_balls as balls

SHIFT = np.eye(4)
SHIFT[:3, 3] = 8.0, -6.0, 3.0


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Two brains as files, and the labels of one."""
    folder = tmp_path_factory.mktemp("scans")
    for name, place in (("moving", SHIFT), ("fixed", np.eye(4))):
        made = balls.brain(place, spacing=4.0, shape=(40, 50, 40))
        for kind, volume in (("", made.image), ("_labels", made.structures)):
            nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), folder / f"{name}{kind}.nii.gz")
    return folder


@pytest.fixture
def known(monkeypatch):
    """The brains' structures without networks."""
    places = {"moving": SHIFT, "fixed": np.eye(4)}

    def read(path, device="cpu", record=None):
        return balls.brain(places[path.name.split(".")[0]], spacing=4.0, shape=(40, 50, 40))

    monkeypatch.setattr(anatomy, "read", read)


def run(*words) -> int:
    return main.main([str(word) for word in words])


@pytest.mark.slow
def test_transforms_and_images(scans, known, tmp_path, capsys):
    there, back = tmp_path / "there.h5", tmp_path / "back.h5"
    moved, labels, change = (tmp_path / f"{n}.nii.gz" for n in ("moved", "labels", "jacobian"))
    code = run(
        "register", scans / "moving.nii.gz", scans / "fixed.nii.gz", there, "--moved", moved,
        "--inverse", back, "--labels", scans / "moving_labels.nii.gz", labels, "--jacobian", change,
        "--refine", 2, "--threads", 1,
    )  # fmt: skip
    assert code == 0
    assert "structures 0." in capsys.readouterr().out
    points = np.random.default_rng(0).uniform(-30, 30, (50, 3))
    assert np.abs(itk.read(there).points(points) - points - SHIFT[:3, 3]).max() < 1.5
    assert np.linalg.norm(itk.read(back).points(itk.read(there).points(points)) - points, axis=1).mean() < 0.3
    fixed, found = (nib.load(p) for p in (scans / "fixed_labels.nii.gz", labels))
    assert found.shape == fixed.shape and found.get_data_dtype() == fixed.get_data_dtype()
    assert (np.asarray(found.dataobj) == np.asarray(fixed.dataobj)).mean() > 0.95
    assert nib.load(moved).shape == nib.load(change).shape == fixed.shape
    assert abs(np.median(np.asarray(nib.load(change).dataobj)) - 1) < 0.05


@pytest.mark.slow
def test_only_rigid(scans, known, tmp_path, capsys):
    out = tmp_path / "rigid.h5"
    assert run("register", scans / "moving.nii.gz", scans / "fixed.nii.gz", out, "--kind", "rigid") == 0
    assert "after the rigid registration" in capsys.readouterr().out
    (matrix,) = itk.read(out).steps
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-5)


@pytest.mark.slow
def test_labels_are_carried_onto_scans(scans, known, tmp_path, capsys):
    words = ["pseudolabel", scans / "moving.nii.gz", scans / "moving_labels.nii.gz", scans / "fixed.nii.gz"]
    assert run(*words, "--out", tmp_path / "out", "--refine", 0) == 0
    found = nib.load(tmp_path / "out" / "fixed_dseg.nii.gz")
    truth = np.asarray(nib.load(scans / "fixed_labels.nii.gz").dataobj)
    assert (np.asarray(found.dataobj) == truth).mean() > 0.88
    assert found.get_data_dtype() == np.uint8
    assert run(*words, scans / "fixed.nii.gz", "--out", tmp_path / "out") == 2
    assert "two scans are called fixed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["nowhere.nii.gz", "fixed.nii.gz", "o.h5"], "nowhere.nii.gz: the file does not exist"),
        (["moving.nii.gz", "nowhere.nii.gz", "o.h5"], "nowhere.nii.gz: the file does not exist"),
        (["moving.nii.gz", "fixed.nii.gz", "o.mat"], "End its name with .h5"),
        (["moving.nii.gz", "fixed.nii.gz", "o.h5", "--moved", "m.mgz"], "End its name with .nii.gz"),
        (["moving.nii.gz", "fixed.nii.gz", "o.h5", "--start", "segmentation"], "does not predict velocities"),
        (["moving.nii.gz", "fixed.nii.gz", "o.h5", "--start", "nothing"], "no weights named"),
        (["moving.nii.gz", "fixed.nii.gz", "o.h5", "--moved", "moving.nii.gz"], "the output is the input"),
        (["moving.nii.gz", "fixed.nii.gz", "o.h5", "--inverse", "./o.h5"], "two outputs have this name"),
        (["moving.nii.gz", "Moon", "o.h5"], "the template is not on this machine"),
        (["moving.nii.gz", "BrainsegFetal:cohort-99", "o.h5"], "has no cohort 99"),
        (["moving.nii.gz", "BrainsegFetal", "o.h5", "--population", "adult"], "needs a gestational age"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(scans, words, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    monkeypatch.chdir(scans)
    assert run("register", *words) > 0
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, population",
    [
        (["fixed.nii.gz"], "adult"),
        (["fixed.nii.gz", "--population", "fetal"], "fetal"),
        (["BrainsegFetal:cohort-28"], "fetal"),
        (["BrainsegFetal"], "fetal"),
        (["MNI152NLin2009cAsym"], "adult"),
    ],
)
def test_the_populations_networks_and_options_are_used(scans, words, population, monkeypatch, tmp_path):
    """Networks of the scans and the template, the deformation's options, and the velocity network."""
    record, calls = populations.load(population), {}

    def read(path, device="cpu", record=None):
        calls.setdefault("records", set()).add(record.name)
        return balls.brain(np.eye(4), spacing=4.0, shape=(40, 50, 40))

    def reference_load(text, population, device):
        calls["template"], calls["population"] = text, population
        return read(text, device, record)

    def stop(moving, fixed, **more):
        calls.update(more)
        raise InputError(None, "far enough")

    monkeypatch.setattr(anatomy, "read", read)
    monkeypatch.setattr(reference, "load", reference_load)
    monkeypatch.setattr(registration, "register", stop)
    monkeypatch.setattr(growth, "age_of", lambda volumes, record, known: ({"age": 27.9, "unit": "w"}, []))
    assert run("register", scans / "moving.nii.gz", *_paths(words, scans), tmp_path / "o.h5") == 1
    assert calls["records"] == {population}
    assert (calls["options"] is None) == (not record.registration)
    assert calls["network"] == (record.velocity or None)
    if words[0] == "BrainsegFetal":
        assert calls["template"].startswith("BrainsegFetal:cohort-28")
    assert calls.get("population", population) == population


def _paths(words, folder):
    return [folder / word if word.endswith(".nii.gz") else word for word in words]


def test_the_stages_get_the_populations_weights(scans, monkeypatch, tmp_path):
    record, used = populations.load("fetal"), []

    def strip(scan, record, **more):
        used.append((record.coarse, record.skullstrip))
        return SimpleNamespace(mask=scan, region=None, notes=[])

    def segment(scan, mask, record, **more):
        used.append((record.coarse, record.segmentation, more["label_table"]))
        return SimpleNamespace(structures=scan, centroids={}, probabilities={}, notes=[])

    monkeypatch.setattr(skullstrip, "skullstrip", strip)
    monkeypatch.setattr(bias, "correct", lambda scan, mask: (scan, None))
    monkeypatch.setattr(segmentation, "segment", segment)
    image = nib.load(scans / "moving.nii.gz")
    fine = tmp_path / "fine.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([1.5, 1.5, 1.5, 1.0])), fine)
    anatomy.read(fine, "cpu", record)
    with pytest.raises(InputError, match="low-resolution stack"):
        anatomy.read(scans / "moving.nii.gz", "cpu", record)
    anatomy.read(scans / "moving.nii.gz")
    assert used[:2] == [("fetal-coarse", "fetal"), ("fetal-coarse", "fetal", "fetal")]
    assert used[2:] == [("head-coarse", "skullstrip"), ("head-coarse", "segmentation", "adult")]
