"""``brainseg lesion``: images, slices as TIFF, folders of patients, and their scores."""

import csv
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from brainseg.bidsapp.cli import main
from brainseg.models.errors import InputError
from brainseg.models.segmentation import lesion, skullstrip
from brainseg.training.data import tiff_slices
from helpers import labeled_images, own_networks

THREE = {
    "contrasts": ["pre", "FLAIR", "post"],
    "sampler": "slices",
    "axes": [2],
    "margin": 4.0,
    "image": "head",
}
LESION = [{"index": 1, "name": "Lesion"}]


def _network(folder, **card):
    """A network of a user that calls what is dark in its image a lesion."""
    return own_networks.make(folder, "dark", LESION, 1, 0, use="lesion", **card)


def _run(*words):
    return main.main(["lesion", *map(str, words), "--device", "cpu", "--threads", "1"])


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


@pytest.fixture
def found(monkeypatch):
    """Everything bright is a lesion; the brain is everything that is not dark."""
    calls = []

    def find(volume, mask, *, others=(), threshold=0.5, **_):
        calls.append((volume, mask, others))
        p = (volume.data > 900).float()
        data, pieces = lesion.components(p.numpy(), volume.grid, threshold)
        return lesion.LesionResult(volume.with_data(torch.from_numpy(data)), volume.with_data(p), pieces)

    def strip(volume, *_, **__):
        mask = volume.with_data((volume.data > 100).to(torch.uint8))
        return SimpleNamespace(mask=mask, notes=[])

    monkeypatch.setattr(lesion, "find", find)
    monkeypatch.setattr(skullstrip, "skullstrip", strip)
    monkeypatch.setattr("brainseg.models.preprocessing.bias.correct", lambda volume, mask: (volume, None))
    return calls


def _image(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0]) if affine is None else affine), path)
    return path


def test_one_image(found, tmp_path, capsys):
    image, labels = labeled_images.ball(0, 32)
    path = _image(tmp_path / "sub-1_FLAIR.nii.gz", image)
    out, table = tmp_path / "out" / "mask.nii.gz", tmp_path / "t.tsv"
    assert _run(path, out, "--table", table, "--overlays", tmp_path / "pictures") == 0
    mask = nib.load(out)
    assert np.allclose(mask.affine, nib.load(path).affine) and mask.get_data_dtype() == np.uint8
    assert (np.asarray(mask.dataobj)[labels == 3] == 1).mean() > 0.9
    (row,) = _rows(table)
    assert row["patient"] == "sub-1" and row["dice"] == "n/a" and float(row["volume_ml"]) > 1
    assert Image.open(tmp_path / "pictures" / "sub-1.png").size[0] == 1024
    assert "sub-1: " in capsys.readouterr().out


def test_a_folder_of_images_with_masks_gets_table_chart_and_overlays(found, tmp_path, capsys):
    for k in range(2):
        image, labels = labeled_images.ball(k, 32)
        folder = tmp_path / "bids" / f"sub-{k}" / "anat"
        _image(folder / f"sub-{k}_FLAIR.nii.gz", image)
        _image(folder / f"sub-{k}_T1w.nii.gz", image)
        _image(folder / f"sub-{k}_label-lesion_mask.nii.gz", (labels == 3).astype(np.uint8))
        _image(folder / f"sub-{k}_desc-brain_mask.nii.gz", (labels > 0).astype(np.uint8))
    out = tmp_path / "out"
    assert _run(tmp_path / "bids", out, "--largest") == 0
    rows = _rows(out / "lesions.tsv")
    assert [row["patient"] for row in rows] == ["sub-0", "sub-1"]
    assert all(float(row["dice"]) > 0.9 and row["lesions"] == "1" for row in rows)
    assert (out / "dice.png").stat().st_size > 3000 and (out / "overlays" / "sub-1.png").is_file()
    assert (out / "sub-0_label-lesion_mask.nii.gz").is_file()
    assert "Dice: mean 1.0000, median 1.0000 of 2 patients" in capsys.readouterr().out


def test_slices_are_read_and_masks_written_as_slices(found, tmp_path, monkeypatch):
    root, out = tmp_path / "kaggle", tmp_path / "out"
    root.mkdir()
    labeled_images.write_slices(tmp_path / "elsewhere", 2)
    for k in range(2):  # data sets consist of links
        (root / f"CASE_{k}").symlink_to(tmp_path / "elsewhere" / f"CASE_{k}")
    monkeypatch.setattr(
        lesion, "find", lambda volume, mask, **_: _as(volume, (volume.data > 200) | (volume.data == 0))
    )
    assert _run(root, out) == 0
    rows = _rows(out / "lesions.tsv")
    assert rows[0]["patient"] == "CASE_0" and "voxel size guessed" in rows[0]["notes"]
    slices = tiff_slices.slices(root / "CASE_0")
    written = sorted((out / "CASE_0").glob("*_mask.tif"))
    assert [p.name for p in written] == sorted(tiff_slices.mask_of(p).name for p in slices)
    one = np.asarray(Image.open(out / "CASE_0" / "CASE_0_10_mask.tif"))
    flair = np.asarray(Image.open(root / "CASE_0" / "CASE_0_10.tif"))[..., 1]
    assert one.shape == flair.shape and set(np.unique(one)) <= {0, 255}
    assert ((one > 0) == ((flair > 200) | (flair == 0))).all(), "the slice's own pixels"


def _as(volume, inside):
    return lesion.LesionResult(volume.with_data(inside.to(torch.uint8)), volume.with_data(inside.float()), [])


def test_a_network_of_three_channels_sees_all_of_them(tmp_path, monkeypatch):
    root = labeled_images.write_slices(tmp_path / "kaggle", 1)
    seen = {}

    def find(volume, mask, *, others=(), **_):
        seen.update(first=volume, others=others, mask=mask)
        return _as(volume, volume.data > 300)

    monkeypatch.setattr(lesion, "find", find)
    path = _network(tmp_path / "nets", inputs=THREE)
    assert _run(root / "CASE_0", tmp_path / "out", "--model", path) == 0
    channels, _ = tiff_slices.read(root / "CASE_0")
    assert len(seen["others"]) == 2
    assert torch.equal(seen["others"][0].data, channels[1].data) and torch.equal(
        seen["first"].data, channels[0].data
    )
    assert np.allclose(seen["first"].grid.spacing, 1), "the voxels of its training"


@pytest.mark.slow
def test_a_network_of_the_user_finds_lesions_in_images(tmp_path):
    image, labels = labeled_images.ball(3, 32)
    path = _image(tmp_path / "a.nii.gz", image)
    brain = _image(tmp_path / "brain.nii.gz", (labels > 0).astype(np.uint8))
    net = _network(tmp_path / "nets", spacing=3.0)
    assert _run(path, tmp_path / "m.nii.gz", "--model", net, "--brain-mask", brain) == 0
    found = np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj)
    assert found.shape == labels.shape


def test_what_does_not_fit_is_refused(found, tmp_path, capsys):
    image, _ = labeled_images.ball(0)
    path = _image(tmp_path / "a" / "x.nii.gz", image)
    root = labeled_images.write_slices(tmp_path / "s", 1)
    net = _network(tmp_path / "nets", inputs=THREE)
    for words, said in (
        ((tmp_path / "gone.nii.gz", "o.nii.gz"), "no such file or folder"),
        ((tmp_path / "nets", "o"), "neither images"),
        ((path, tmp_path / "o.png"), "End its name with .nii.gz"),
        ((path, path), "the output is the input itself"),
        ((root / "CASE_0", root / "CASE_0"), "masks would be lost"),
        ((tmp_path / "a", tmp_path / "o", "--brain-mask", path), "--brain-mask is for one image"),
        ((path, tmp_path / "o.nii.gz", "--threshold", "1.5"), "is no probability"),
        ((path, tmp_path / "o.nii.gz", "--model", "segmentation"), "does not segment lesions"),
        ((path, tmp_path / "o.nii.gz", "--model", net), "needs 3 images (pre, FLAIR, post)"),
        ((root / "CASE_0", tmp_path / "o", "--channel", "7"), "brainseg lesion has --channel"),
    ):
        assert _run(*words) != 0
        assert said in capsys.readouterr().err
    tiff_slices.mask_of(tiff_slices.slices(root / "CASE_0")[3]).unlink()
    assert _run(root / "CASE_0", tmp_path / "o") != 0
    assert "this slice has no mask" in capsys.readouterr().err


def test_slices_without_masks_and_numbers(tmp_path):
    root = labeled_images.write_slices(tmp_path / "s", 1) / "CASE_0"
    paths = tiff_slices.slices(root)
    assert [int(p.stem.split("_")[-1]) for p in paths] == list(range(4, 20))
    channels, truth = tiff_slices.read(root)
    again = tiff_slices.channels(paths)
    assert torch.equal(channels[1].data, again[1].data) and np.allclose(channels[1].affine, again[1].affine)
    tiff_slices.write_masks(truth.data.numpy(), paths, tmp_path / "m")
    masks = [tmp_path / "m" / tiff_slices.mask_of(p).name for p in paths]
    assert torch.equal(tiff_slices.labels(masks).data, truth.data)
    (root / "CASE_0_x.tif").write_bytes(paths[0].read_bytes())
    with pytest.raises(InputError, match="no number of the slice"):
        tiff_slices.slices(root)
