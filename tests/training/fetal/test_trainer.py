"""Fetal training on one's own data: layouts, ages, numberings, what is held out, and what the card says."""

import json
import os

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.networks import zoo
from brainseg.training.core import lightning
from brainseg.training.fetal import dataset, interpolation, prepare
from brainseg.training.fetal.source_labels import numbering
from brainseg.training.fetal.trainer import FetalTrainer
from brainseg.training.kinds import cache, registry

FETA = {0: 0, 4: 1, 5: 2, 1: 3, 2: 4, 3: 5, 6: 6, 7: 7}
"""From the program's numbers to FeTA's."""


def _brain(numbers=None):
    """A ball in shells: fluid, cortex, white matter, ventricles; image and labels."""
    index = np.indices((20, 24, 20)) - np.array([9.5, 11.5, 9.5])[:, None, None, None]
    r = np.sqrt((index**2).sum(0))
    labels = np.select([r < 3, r < 6, r < 7.5, r < 9], [2, 1, 5, 4], 0)
    labels[9:11, 6, 9:11], labels[9:11, 15, 9:11], labels[9:11, 9:11, 3] = 3, 6, 7
    image = np.array([0, 165, 245, 150, 240, 125, 140, 135])[labels] + np.indices(labels.shape)[0] % 5
    if numbers:
        labels = np.vectorize(numbers.get)(labels)
    return image * (labels > 0), labels


def _write(folder, stem, numbers=None, labels_in=None, changed=0):
    """Write a brain, with as many voxels changed."""
    image, labels = _brain(numbers)
    image.flat[np.flatnonzero(labels)[:changed]] = image.max() / 2
    labels.flat[np.flatnonzero(labels)[:changed]] = labels.max()
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for where, data, suffix in ((folder, image, "T2w"), (labels_in or folder, labels, "dseg")):
        where.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data.astype(np.int16), affine), where / f"{stem}_{suffix}.nii.gz")


def _people(folder, rows, columns="participant_id\tgestational_age"):
    (folder / "participants.tsv").write_text("\n".join([columns, *rows]) + "\n")


@pytest.fixture
def quick(monkeypatch):
    """No ways between brains: their registrations take the time."""
    monkeypatch.setattr(interpolation, "pairs", lambda names, weeks: [])


def _run(*words) -> int:
    return main.main([str(word) for word in words])


def test_a_feta_dataset_becomes_arrays(tmp_path, quick):
    """BIDS folders, a column with a space, FeTA's own numbers."""
    _write(tmp_path / "sub-001" / "anat", "sub-001_rec-mial", FETA)
    _write(tmp_path / "sub-ctrl" / "ses-1" / "anat", "sub-ctrl_ses-1_rec-mial", FETA)
    _people(tmp_path, ["sub-001\t28.5", "sub-ctrl\t24+0"], "participant_id\tGestational age")
    found = dataset.find(tmp_path)
    assert [(one.name, one.weeks) for one in found] == [("sub-001", 28.5), ("sub-ctrl_ses-1", 24.0)]
    prepare.prepare(found, tmp_path / "out.npz", "feta")
    with np.load(tmp_path / "out.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
        assert meta["names"] == ["sub-001", "sub-ctrl_ses-1"] and meta["weeks"] == [28.5, 24.0]
        counts = np.bincount(arrays["labels0"].ravel(), minlength=8)
    assert np.array_equal(counts[1:], np.bincount(_brain()[1].ravel(), minlength=8)[1:])
    with pytest.raises(InputError, match=r"numbered otherwise.*feta"):
        prepare.prepare(found, tmp_path / "wrong.npz")


def test_labels_under_derivatives_and_sessions(tmp_path):
    for session in ("a", "b"):
        anat = tmp_path / "sub-x" / f"ses-{session}" / "anat"
        below = tmp_path / "derivatives" / "hand" / "sub-x" / f"ses-{session}" / "anat"
        _write(anat, f"sub-x_ses-{session}", labels_in=below)
    _people(
        tmp_path, ["sub-x\tses-a\t168", "sub-x\tb\t210"], "participant_id\tsession_id\tgestational_age_days"
    )
    found = dataset.find(tmp_path)
    assert [(one.name, one.weeks) for one in found] == [("sub-x_ses-a", 24.0), ("sub-x_ses-b", 30.0)]
    assert all(one.labels.parent != one.image.parent for one in found)


def test_names_tell_the_age_where_no_table_does(tmp_path, capsys):
    _write(tmp_path / "sub-wu27", "sub-wu27")
    assert dataset.find(tmp_path)[0].weeks == 27
    assert "taken as gestational ages, 27 to 27 weeks" in capsys.readouterr().out
    _people(tmp_path, ["sub-wu27\t31"])
    assert dataset.find(tmp_path)[0].weeks == 31


@pytest.mark.parametrize(
    "name, rows, said",
    [
        ("sub-ctrl", None, "gestational age of sub-ctrl is unknown"),
        ("sub-005", None, "gestational age of sub-005 is unknown"),
        ("sub-028", None, "gestational age of sub-028 is unknown"),
        ("sub-28", ["sub-28\tn/a"], "no gestational age of sub-28"),
        ("sub-28", ["sub-29\t28"], "no such row"),
        ("sub-28", ["sub-28\t199"], "name the column gestational_age_days"),
    ],
)
def test_an_age_that_is_not_known_is_an_error_in_words(tmp_path, name, rows, said):
    _write(tmp_path / name, name)
    if rows:
        _people(tmp_path, rows)
    with pytest.raises(InputError, match=r"participants\.tsv.*" + said):
        dataset.find(tmp_path)


def test_what_does_not_fit_together_is_named(tmp_path, capsys):
    with pytest.raises(UsageError, match="no subjects"):
        dataset.find(tmp_path)
    own = tmp_path / "sub-28"
    _write(own, "sub-28")
    (own / "sub-28_T2w.nii.gz").rename(own / "sub-28_T1w.nii.gz")
    with pytest.raises(InputError, match="no \\*_T2w"):
        dataset.find(tmp_path)
    (own / "sub-28_T1w.nii.gz").rename(own / "sub-28_T2w.nii.gz")
    _write(tmp_path / "sub-29", "sub-29")
    (tmp_path / "sub-29" / "sub-29_dseg.nii.gz").unlink()
    (one,) = dataset.find(tmp_path)
    assert one.name == "sub-28" and "excluded: sub-29" in capsys.readouterr().out


def test_labels_that_no_table_has(tmp_path):
    _write(tmp_path / "sub-28", "sub-28", {**{k: k for k in range(8)}, 7: 9})
    (one,) = dataset.find(tmp_path)
    with pytest.raises(InputError, match="the labels 9 are not in the source table"):
        dataset.read(one, numbering())
    one.labels.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        dataset.read(one, numbering())
    with pytest.raises(MissingFileError, match=r"no such source table.*feta"):
        numbering("nonexistent")
    with pytest.raises(InputError, match=r"headmaps\.tsv: the fetal networks know no structures 5, "):
        numbering("headmaps")
    assert numbering() == {k: k for k in range(9)}


def test_every_fifth_is_held_out_and_changes_are_seen(tmp_path, monkeypatch):
    made = []

    def make(subjects, out, table):
        made.append((out.name, [one.name for one in subjects], table))
        out.touch()

    monkeypatch.setattr(prepare, "prepare", make)
    for week in range(24, 30):
        _write(tmp_path / "a" / f"sub-{week}", f"sub-{week}")
    out = tmp_path / "out"
    training, validation, count = cache.fetuses(tmp_path / "a", out)
    assert made == [
        ("training.npz", ["sub-24", "sub-25", "sub-26", "sub-27", "sub-29"], "fetal"),
        ("validation.npz", ["sub-28"], "fetal"),
    ]
    assert (training, validation, count) == (out / "training.npz", out / "validation.npz", 5)
    cache.fetuses(tmp_path / "a", out)
    assert len(made) == 2
    os.utime(tmp_path / "a" / "sub-28" / "sub-28_dseg.nii.gz", (1, 1))
    cache.fetuses(tmp_path / "a", out)
    assert [name for name, *_ in made[2:]] == ["validation.npz"]
    _write(tmp_path / "b" / "sub-30", "sub-30")
    assert cache.fetuses(tmp_path / "b", out) == (out / "training.npz", None, 1)
    assert made[-1][1] == ["sub-30"]


def test_the_card_tells_whose_data_trained(tmp_path):
    shipped = registry.read("fetal")
    found = cache.described(shipped, {}, tmp_path / "mine", 3)
    card = zoo.read_card("segmentation")
    assert found.data.startswith("mine (3); begun from fetal: ") and card["training_data"] in found.data
    assert found.license.startswith("not stated (yours); begun from ")
    assert zoo.read_card("fetal")["license"] in found.license
    alone = cache.described(registry.read("fetal", {"start": None}), {}, tmp_path / "mine", 3)
    assert (alone.data, alone.license) == ("mine (3)", "not stated (yours)")
    said = {"data": "ours", "license": "CC0"}
    kept = cache.described(registry.read("fetal", said), said, tmp_path, 3)
    assert (kept.data, kept.license) == ("ours", "CC0")
    half = cache.described(registry.read("fetal", {"data": "ours"}), {"data": "ours"}, tmp_path, 3)
    assert half.data.startswith("ours") and half.license.startswith("not stated")


@pytest.mark.slow
def test_the_command_trains_on_a_folder(tmp_path, monkeypatch, quick, capsys):
    """From `brainseg train fetal --maps` to the trainer: held-out subjects and the data's own words."""
    seen = {}

    def fit(run, clock):
        seen.update(data=run.recipe.data, validation=run.validation, scores=run.validate())

    monkeypatch.setattr(lightning, "fit", fit)
    monkeypatch.setattr(FetalTrainer, "export", lambda self: self.folder)
    for number in range(1, 6):
        _write(tmp_path / "mine" / f"sub-{number:03}" / "anat", f"sub-{number:03}", changed=10 * number)
    words = ("train", "fetal-coarse", "--maps", tmp_path / "mine", "--out", tmp_path / "out")
    small_grid = "stages=[{until: 1.0, shape: [32, 32, 32], spacing: 3.0}]"
    words = (*words, small_grid, "start=null", "--device", "cpu")
    assert _run(*words) == 1
    assert "participants.tsv" in capsys.readouterr().err
    _people(tmp_path / "mine", [f"sub-{n:03}\t{20 + n}" for n in range(1, 6)])
    assert _run(*words) == 0
    assert seen["data"] == "mine (4)" and seen["validation"].name == "validation.npz" and seen["scores"]
    assert _run(*words, "--table", "nonexistent") == 126
    capsys.readouterr()
    # The arrays can be looked at, with a recipe for them.
    preview = ("synth", "preview", tmp_path / "out" / "training.npz", tmp_path / "p.png", "--count", 1)
    small = tmp_path / "small.yaml"
    small.write_text(registry.read("fetal-coarse").text.replace("[48, 48, 48]", "[32, 32, 32]"))
    assert _run(*preview, "--recipe", small) == 0 and (tmp_path / "p.png").stat().st_size > 1000
    assert _run(*preview) == 1
    assert "arrays are of fetuses, but arrays of heads are needed" in capsys.readouterr().err
    assert _run(*preview, "--recipe", "hippocampus") == 2


def test_seeds_of_a_fetal_image(tmp_path, capsys):
    """Fluid, gray and white matter, and what surrounds the brain where the image has it."""
    _write(tmp_path, "sub-28")
    image, labels, out = (tmp_path / f"sub-28_{name}.nii.gz" for name in ("T2w", "dseg", "seeds"))
    assert _run("synth", "seeds", image, labels, out, "--table", "fetal") == 0
    assert "meta-label 4" not in capsys.readouterr().out
    written, truth = (np.asarray(nib.load(path).dataobj) for path in (out, labels))
    assert set(np.unique(written[truth == 5])) <= {21, 22, 23, 24} and not written[truth == 0].any()
    loaded = nib.load(image)
    nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj) + 20, loaded.affine), tmp_path / "whole.nii.gz")
    assert _run("synth", "seeds", tmp_path / "whole.nii.gz", labels, out, "--table", "fetal") == 0
    assert "meta-label 4" in capsys.readouterr().out
    assert _run("train", "prepare", tmp_path / "x.npz", labels, "--table", "fetal") == 1
    assert "brainseg train fetal --maps FOLDER" in capsys.readouterr().err
