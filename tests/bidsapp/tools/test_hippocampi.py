"""``brainseg hippocampus``: all its files, and what it refuses."""

import zipfile

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.models.hippocampus import hippocampus
from helpers import quick_science


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """Two balls of two parts, the second a voxel further, which a stand-in for the network knows by heart."""
    for name, shift in (("a", 0), ("b", 1)):
        r = np.indices((26, 30, 28)) - np.array([13 + shift, 15, 14])[:, None, None, None]
        ball = (r**2).sum(0) < 49
        image = (np.where(ball, 200, 500) + np.arange(30)[None, :, None]).astype(np.int16)
        nib.Nifti1Image(image, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
        labels = (ball * np.where(r[1] > 0, 1, 2)).astype(np.uint8)
        nib.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / f"{name}_labels.nii.gz")

    monkeypatch.setattr(hippocampus, "find", quick_science.parts)
    return tmp_path


@pytest.mark.slow
def test_every_file_is_written(crops, capsys):
    out = {
        name: str(crops / name)
        for name in ("o.h5", "i.h5", "m.nii.gz", "l.nii.gz", "p.nii.gz", "g.npy", "d.npz")
    }
    words = ["hippocampus", str(crops / "a.nii.gz"), str(crops / "b.nii.gz"), out["o.h5"], "--threads", "1"]
    words += ["--inverse", out["i.h5"], "--moved", out["m.nii.gz"], "--parts", out["p.nii.gz"]]
    words += ["--labels", str(crops / "a_labels.nii.gz"), out["l.nii.gz"]]
    assert main.main([*words, "--grid", out["g.npy"], "--submission", out["d.npz"]]) == 0
    assert "0.0000 % of the voxels fold" in capsys.readouterr().out
    moved = np.asarray(nib.load(out["l.nii.gz"]).dataobj)
    truth = np.asarray(nib.load(crops / "b_labels.nii.gz").dataobj)
    assert (moved[truth > 0] == truth[truth > 0]).mean() > 0.95
    assert np.load(out["g.npy"]).shape == (3, 26, 30, 28) and np.load(out["g.npy"]).dtype == np.float32
    with np.load(out["d.npz"]) as arrays:
        stored = arrays[arrays.files[0]]
    assert stored.dtype == np.float16 and stored[0, 13, 15, 14] == pytest.approx(-1, abs=0.3)


def test_what_cannot_be_written_is_refused_first(crops, capsys):
    words = ["hippocampus", str(crops / "a.nii.gz"), str(crops / "b.nii.gz")]
    assert main.main([*words, "o.txt"]) == 2
    assert "End its name with .h5" in capsys.readouterr().err
    assert main.main([*words, "o.h5", "--moved", words[2]]) == 2
    assert "the output is the input itself" in capsys.readouterr().err
    assert main.main([*words, "o.h5", "--model", "x"]) != 0
    assert "brainseg models list" in capsys.readouterr().err
    for other in ("segmentation", "registration", "hippocampus"):
        assert main.main([*words, "o.h5", "--model", other]) == 2
        assert "does not register" in capsys.readouterr().err
    assert main.main(["hippocampus", str(crops / "none.nii.gz"), words[2], str(crops / "o.h5")]) != 0
    assert "does not exist" in capsys.readouterr().err


def test_a_table_of_pairs_becomes_a_submission(crops, capsys):
    images = crops / "images"
    images.mkdir()
    for number, name in ((1, "a"), (12, "b")):
        (images / f"hippocampus_{number:03d}.nii.gz").write_bytes((crops / f"{name}.nii.gz").read_bytes())
    table, out = crops / "pairs_val.csv", crops / "results"
    table.write_text("fixed,moving\n12,1\nhippocampus_001.nii.gz,12\n")
    words = ["hippocampus", "--pairs", str(table), "--images", str(images), "--out", str(out)]
    assert main.main([*words, "--zip", "--plots", "--threads", "1", "--device", "cpu"]) == 0
    with zipfile.ZipFile(out / "submission.zip") as archive:
        names = archive.namelist()
    assert names == ["task_04/disp_0012_0001.npz", "task_04/disp_0001_0012.npz"]
    with np.load(out / names[0]) as arrays:
        stored = arrays[arrays.files[0]]
    assert stored.dtype == np.float16 and stored[0, 13, 15, 14] == pytest.approx(-1, abs=0.3)
    rows = (out / "pairs.tsv").read_text().splitlines()
    assert rows[0].startswith("fixed\tmoving\ttransform") and "0.0000 %" in capsys.readouterr().out
    assert rows[1].split("\t")[:2] == ["hippocampus_012.nii.gz", "hippocampus_001.nii.gz"]
    assert (out / "figures" / "disp_0012_0001.png").stat().st_size > 1000
    labels = crops / "labels"
    labels.mkdir()
    for number, name in ((1, "a"), (12, "b")):
        (labels / f"hippocampus_{number:03d}.nii.gz").write_bytes(
            (crops / f"{name}_labels.nii.gz").read_bytes()
        )
    scores = ["evaluate", str(labels), str(labels), "--registration", str(out / "pairs.tsv")]
    assert main.main(scores) == 0


def test_tables_of_pairs_that_do_not_fit(crops, capsys):
    table = crops / "pairs.tsv"
    table.write_text("fixed\tmoving\na.nii.gz\tb.nii.gz\n")
    many = ["hippocampus", "--pairs", str(table)]
    for words, said in (
        (many, "Give --out DIR"),
        ([*many, "--out", str(crops / "o"), "--moved", "m.nii.gz"], "--moved is for one pair"),
        (["hippocampus", str(crops / "a.nii.gz")], "MOVING, FIXED and OUT.h5 are needed"),
        (["hippocampus", *[str(crops / "a.nii.gz")] * 2, "o.h5", "--zip"], "are for a table of pairs"),
    ):
        assert main.main(words) == 2
        assert said in capsys.readouterr().err
    table.write_text("fixed\tmoving\n7\t8\n")
    assert main.main([*many, "--out", str(crops / "o")]) != 0
    assert "0 images are '7'" in capsys.readouterr().err
