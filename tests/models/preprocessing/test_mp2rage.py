"""MP2RAGE UNI images: their noisy background is recognized and made dark; nothing else is touched."""

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from brainseg.bidsapp.inputs.index import Image
from brainseg.bidsapp.inputs.mp2rage import usable_first
from brainseg.interfaces import base
from brainseg.interfaces.skullstrip import SkullStrip
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.preprocessing import mp2rage, scan
from brainseg.models.segmentation import skullstrip

SHAPE, SPACING = (70, 76, 66), 3.0


def head() -> tuple[np.ndarray, np.ndarray]:
    """Where a head is, and its UNI values (-0.5 to 0.5) without noise."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt((x / 0.7) ** 2 + (y / 0.8) ** 2 + (z / 0.75) ** 2)
    values = np.select([radius < 0.5, radius < 0.8, radius < 1], [0.35, 0.05, -0.4], 0.0)
    return radius < 1, values


def scans(signal: float = 1.0) -> tuple[Volume, list[Volume]]:
    """A UNI image with a noisy background, and the magnitudes of its two inversions."""
    inside, values = head()
    rng = np.random.default_rng(0)
    second = np.where(inside, signal, 0.0)
    first = second * np.where(values == 0, 0, (1 - np.sqrt(1 - 4 * values**2)) / (2 * values + 1e-9))
    noisy = [one + 0.02 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)) for one in (first, second)]
    energy = np.abs(noisy[0]) ** 2 + np.abs(noisy[1]) ** 2
    uni = np.real(np.conj(noisy[0]) * noisy[1]) / energy
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    return _volume((uni + 0.5) * 4095, affine), [_volume(np.abs(one) * 1000, affine) for one in noisy]


def _volume(data: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(torch.from_numpy(np.rint(data).astype(np.float32)), affine)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_background_is_dark_and_the_head_is_kept(count):
    uni, inversions = scans()
    inside, values = head()
    assert mp2rage.is_noisy(uni)
    found = mp2rage.suppress(uni, inversions[2 - count :])
    assert not mp2rage.is_noisy(found)
    data = found.data.numpy() / 4095 - 0.5
    # Without inversion images, the last voxels beside the air cannot be told from it.
    deep = ndimage.binary_erosion(inside, iterations=3)
    far = ~ndimage.binary_dilation(inside, iterations=3)
    assert np.abs(data[deep] - values[deep]).mean() < 0.04
    assert np.quantile(data[far], 0.99) < -0.3 and (data[far] > 0).mean() < 0.001


def test_other_images_are_left_alone():
    inside, values = head()
    rng = np.random.default_rng(1)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    tissue = np.where(inside, values + 0.6, 0) * 1000
    magnitude = np.abs(tissue + 150 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)))
    denoised = np.where(inside, (values + 0.5) * 4095, 0)
    notes: list[str] = []
    for data in (tissue, magnitude, denoised, rng.uniform(0, 50, SHAPE) + tissue):
        volume = _volume(data, affine)
        assert not mp2rage.is_noisy(volume)
        assert mp2rage.prepared(volume, "sub-01_UNIT1.nii.gz", notes) is volume
    assert notes == []


def test_noise_alone_is_told_with_what_helps():
    data = np.random.default_rng(2).uniform(0, 4095, SHAPE)
    volume, notes = _volume(data, np.diag([SPACING, SPACING, SPACING, 1.0])), []
    assert mp2rage.prepared(volume, "sub-01_UNIT1.nii.gz", notes) is volume
    assert len(notes) == 1 and "inv-1_MP2RAGE" in notes[0] and "T2w" in notes[0]


@pytest.mark.parametrize(
    ("uni", "others", "found"),
    [
        ("sub-1_UNIT1", ["sub-1_inv-1_MP2RAGE", "sub-1_inv-2_MP2RAGE"], ["inv-1", "inv-2"]),
        (
            "sub-1_run-2_UNIT1",
            ["sub-1_run-2_inv-2_part-mag_MP2RAGE", "sub-1_run-2_inv-1_part-phase_MP2RAGE"],
            ["inv-2"],
        ),
        ("sub-1_acq-UNI_T1w", ["sub-1_inv-2_MP2RAGE"], ["inv-2"]),
        ("sub-1_run-1_UNIT1", ["sub-1_run-2_inv-2_MP2RAGE"], []),
        ("sub-1_UNIT1", ["sub-1_inv-1_MP2RAGE"], []),
    ],
)
def test_inversions_of_the_same_scan_are_found(tmp_path, uni, others, found):
    for name in others:
        (tmp_path / f"{name}.nii.gz").touch()
    names = [path.name for path in mp2rage.inversions_of(tmp_path / f"{uni}.nii.gz")]
    assert len(names) == len(found) and all(
        f"_{inv}_" in name for inv, name in zip(found, names, strict=True)
    )


def test_reading_makes_it_dark_and_says_how(tmp_path):
    uni, inversions = scans()
    path = tmp_path / "sub-01_UNIT1.nii.gz"
    for volume, name in zip([uni, *inversions], ["UNIT1", "inv-1_MP2RAGE", "inv-2_MP2RAGE"], strict=True):
        image = nib.Nifti1Image(volume.data.numpy().astype(np.int16), volume.affine)
        image.set_sform(volume.affine, 1)
        nib.save(image, tmp_path / f"sub-01_{name}.nii.gz")
    notes: list[str] = []
    with_inversions = scan.read(path, notes=notes)
    assert "sub-01_inv-1_MP2RAGE.nii.gz and sub-01_inv-2_MP2RAGE.nii.gz" in notes[-1]
    (tmp_path / "sub-01_inv-2_MP2RAGE.nii.gz").write_bytes(b"damaged")
    alone = scan.read(path, notes=notes)
    assert "by its statistics" in notes[-1] and "inv-2_MP2RAGE" in notes[-1]
    inside, _ = head()
    for volume in (with_inversions, alone):
        assert float(volume.data[torch.from_numpy(~inside)].median()) < 300


def test_a_uni_image_is_never_taken_for_a_fetus(monkeypatch, tmp_path):
    def none(*_, **__):
        raise InputError(None, "no brain found in the image", "For a fetus, use --population fetal")

    monkeypatch.setitem(skullstrip.METHODS, "signed-distance", none)
    uni, _ = scans()
    with pytest.raises(InputError, match="MP2RAGE") as error:
        skullstrip.skullstrip(uni)
    assert "fetus" not in str(error.value) and "inv-1_MP2RAGE" in error.value.remedy
    path = base.save(uni.with_data(torch.where(torch.from_numpy(head()[0]), uni.data, 0)), tmp_path / "a.nii")
    node = SkullStrip(in_file=path, source_file="/bids/sub-01/anat/sub-01_UNIT1.nii.gz")
    with pytest.raises(InputError, match="no brain") as error:
        node.run(cwd=str(tmp_path))
    assert "fetus" not in str(error.value) and "T2w" in error.value.remedy


def test_a_usable_t2w_goes_before_an_unusable_uni_image(tmp_path):
    noise = np.random.default_rng(0).uniform(0, 4095, SHAPE)
    uni, _ = scans()
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])

    def order(data):
        image = nib.Nifti1Image(np.asarray(data, np.int16), affine)
        image.set_sform(affine, 1)
        path = tmp_path / "sub-01_UNIT1.nii.gz"
        nib.save(image, path)
        other = tmp_path / "sub-01_T2w.nii.gz"
        group = [
            Image(path, {"subject": "01", "suffix": "UNIT1"}),
            Image(other, {"subject": "01", "suffix": "T2w"}),
        ]
        notes: list[str] = []
        return [one.suffix for one in usable_first(group, notes)], notes

    assert order(uni.data.numpy()) == (["UNIT1", "T2w"], [])
    suffixes, notes = order(noise)
    assert suffixes == ["T2w", "UNIT1"] and "sub-01_T2w.nii.gz was used" in notes[0]
