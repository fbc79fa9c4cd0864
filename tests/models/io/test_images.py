"""Files that are named or described wrongly are read as what they are, and it is said."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform, images

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.5, 0, -40], [0, 0, 3, -20], [0, 0, 0, 1]])


@pytest.fixture
def data():
    return np.random.default_rng(0).integers(1, 900, (30, 28, 26)).astype(np.int16)


@pytest.fixture
def scan(data):
    """The image that all files here hold."""
    image = nib.Nifti1Image(data, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    return image


def _read(path):
    """Return the scan and the notes, after a look at what only opens the file."""
    notes: list[str] = []
    found = conform.read(path, notes=notes)
    np.testing.assert_allclose(images.open_image(path).affine, found.affine)
    np.testing.assert_allclose(images.voxel_size(path), (2, 2.5, 3), rtol=1e-5)
    return found, notes


def _plain(scan, path):
    path = path / "a.nii.gz"
    path.write_bytes(scan.to_bytes())
    return path


def _packed(scan, path):
    path = path / "a.nii"
    path.write_bytes(gzip.compress(scan.to_bytes()))
    return path


def _nifti2(scan, path):
    return _plain(nib.Nifti2Image(scan.dataobj, scan.affine), path)


def _mgz(scan, path):
    nib.save(nib.MGHImage(np.asarray(scan.dataobj), scan.affine), path / "a.mgz")
    return path / "a.mgz"


def _unpacked_mgz(scan, path):
    (path / "a.mgz").write_bytes(nib.MGHImage(np.asarray(scan.dataobj), scan.affine).to_bytes())
    return path / "a.mgz"


def _scaled(factor, unit):
    def write(scan, path):
        affine = np.diag([factor, factor, factor, 1]) @ scan.affine
        image = nib.Nifti1Image(scan.dataobj, affine)
        image.set_qform(affine, 1)
        image.header.set_xyzt_units(unit)
        nib.save(image, path / "a.nii.gz")
        return path / "a.nii.gz"

    return write


def _no_sform(scan, path):
    header = scan.header.copy()
    header["srow_x"] = header["srow_y"] = header["srow_z"] = np.nan
    header["vox_offset"] = 352
    raw = bytearray(scan.to_bytes())
    raw[:348] = header.binaryblock
    (path / "a.nii").write_bytes(bytes(raw))
    return path / "a.nii"


def _gray_colors(scan, path):
    low = (np.asarray(scan.dataobj) % 256).astype(np.uint8)
    colors = np.zeros(low.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name in "RGB":
        colors[name] = low
    nib.save(nib.Nifti1Image(colors, scan.affine), path / "a.nii.gz")
    return path / "a.nii.gz"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_plain, "not compressed, although its name ends in .nii.gz"),
        (_packed, "is compressed, although its name ends in .nii"),
        (_nifti2, "not compressed"),
        (_mgz, "FreeSurfer's format (.mgz)"),
        (_unpacked_mgz, "not compressed"),
        (_scaled(1e-3, "meter"), "in meters"),
        (_scaled(1e-3, "unknown"), "in meters"),
        (_scaled(1e3, "micron"), "in micrometers"),
        (_no_sform, "the qform was used"),
    ],
)
def test_a_healthy_scan_in_a_wrong_wrapping_is_read_with_a_note(scan, data, tmp_path, write, said):
    found, notes = _read(write(scan, tmp_path))
    np.testing.assert_array_equal(found.data.numpy(), data)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    assert len(notes) == 1 and said in notes[0]


def test_gray_colors_are_read_as_gray_and_others_refused(scan, data, tmp_path):
    path = _gray_colors(scan, tmp_path)
    found, notes = _read(path)
    np.testing.assert_array_equal(found.data.numpy(), data % 256)
    assert images.open_image(path).get_data_dtype() == np.uint8 and "all gray" in notes[0]
    colors = np.asarray(nib.load(path).dataobj).copy()
    colors["R"] = 7
    nib.save(nib.Nifti1Image(colors, AFFINE), path)
    with pytest.raises(InputError, match="colors"):
        conform.read(path)


@pytest.mark.parametrize(("value", "count"), [(np.nan, 3), (np.inf, 1), (np.nan, 15000)])
def test_voxels_that_are_no_numbers_become_zero_with_a_note(scan, data, tmp_path, value, count):
    values = data.astype(np.float32)
    values.ravel()[:count] = value
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "a.nii.gz")
    found, notes = _read(tmp_path / "a.nii.gz")
    assert (found.data.numpy().ravel()[:count] == 0).all()
    np.testing.assert_array_equal(found.data.numpy().ravel()[count:], data.ravel()[count:])
    assert len(notes) == 1 and f"{count} voxel" in notes[0] and "set to 0" in notes[0]
    nib.save(nib.Nifti1Image(np.full_like(values, np.nan), AFFINE), tmp_path / "b.nii")
    with pytest.raises(InputError, match="all its voxels are NaN"):
        conform.read(tmp_path / "b.nii")


def test_a_healthy_file_has_no_note_and_is_read_as_before(scan, data, tmp_path):
    for name in ("a.nii.gz", "a.nii"):
        nib.save(scan, tmp_path / name)
        found, notes = _read(tmp_path / name)
        assert notes == []
        np.testing.assert_array_equal(found.data.numpy(), data)


def test_what_is_no_image_is_refused_whatever_its_name(tmp_path):
    for name, content in (("a.nii.gz", b"no image" * 99), ("b.nii", gzip.compress(b"no image" * 99))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"not a readable|cannot be read"):
            conform.read(tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int16])
def test_a_work_file_has_the_order_of_the_memory_and_is_a_valid_image(tmp_path, dtype):
    affine = np.array([[0, -2.0, 0, 5], [0.1, 0, 3, -7], [1.5, 0, 0, 9], [0, 0, 0, 1]])
    volume = Volume((torch.rand(4, 5, 6) * 100).to(dtype), affine)
    images.write(volume, tmp_path / "a.nii")
    found = images.read(tmp_path / "a.nii")
    assert found.data.dtype == dtype and found.data.is_contiguous()
    assert torch.equal(found.data, volume.data) and np.allclose(found.affine, affine, atol=1e-5)
    opened = images.open_image(tmp_path / "a.nii")
    assert opened.shape == (4, 5, 6) and np.allclose(opened.affine, affine, atol=1e-5)
    assert np.array_equal(opened.dataobj, volume.data)
    other = nib.load(tmp_path / "a.nii")  # as another program reads it
    assert other.shape == (6, 5, 4)
    assert np.asarray(other.dataobj)[5, 3, 2] == volume.data[2, 3, 5]
    assert np.allclose(other.affine @ [5, 3, 2, 1], affine @ [2, 3, 5, 1], atol=1e-5)


@pytest.mark.parametrize(
    "slope, inter, expected",
    [(None, None, "int16"), (1.0, 0.0, "int16"), (0.001, 0.0, "float32"), (1.0, -9.0, "float32")],
)
def test_integers_that_the_header_scales_are_no_integers(data, tmp_path, slope, inter, expected):
    image = nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nib.save(image, tmp_path / "scaled.nii")
    assert images.kind_of(images.open_image(tmp_path / "scaled.nii")) == np.dtype(expected)


def test_the_voxel_size_is_that_of_the_affine(tmp_path):
    image = nib.Nifti1Image(np.zeros((10, 10, 10), np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_sform(image.affine, 2)
    image.header["pixdim"][1:4], image.header["qform_code"] = 1, 0
    (tmp_path / "odd.nii").write_bytes(image.header.binaryblock + bytes(4) + bytes(2000))
    assert images.voxel_size(tmp_path / "odd.nii") == (3, 3, 3)


@pytest.mark.parametrize("name", ["scan.mgh", "scan.mgz"])
def test_a_scan_of_freesurfer_without_orientation_is_refused(tmp_path, name):
    data = np.random.default_rng(0).integers(0, 99, (50, 50, 50)).astype(np.uint8)
    nib.save(nib.MGHImage(data, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "good.mgh")
    content = bytearray((tmp_path / "good.mgh").read_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("z") else content)
    conform.read(tmp_path / "good.mgh")
    with pytest.raises(InputError, match="nothing of orientation"):
        conform.read(tmp_path / name)


def test_a_work_file_is_not_changed_by_what_is_read_from_it(tmp_path):
    path, values = tmp_path / "work.nii", torch.rand(4, 5, 6)
    images.write(Volume(values, np.eye(4)), path)
    read = images.read(path)
    read.data[0] = 7
    assert torch.equal(images.read(path).data, values)
    images.write(Volume(values + 1, np.eye(4)), path)  # what was read stays that of the earlier file
    assert torch.equal(read.data[1:], values[1:])
    assert torch.equal(images.read(path).data, values + 1)
