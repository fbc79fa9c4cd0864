"""Geometry: where voxels lie in millimeters survives every step, oblique and flipped grids included."""

import doctest
import itertools

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.geometry import volume as geometry
from brainseg.models.geometry.volume import Grid, Volume, box, lattice, normalize, resample, transform_points

ORIENTATIONS = [
    "".join(axis[sign] for axis, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for signs in itertools.product((0, 1), repeat=3)
]


def rotation(degrees=(12.0, -8.0, 20.0)):
    out = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out


def affine_of(matrix, origin):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = matrix, origin
    return out


OBLIQUE = affine_of(rotation() @ np.diag([0.9, 1.1, 1.3]), [-31.5, 17.25, -40.0])


def ramp(shape, affine):
    """An image whose value is a linear function of the place (mm), so that interpolation is exact."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    mm = transform_points(affine, index)
    return Volume(torch.from_numpy(mm @ [1.0, 0.5, -2.0] + 300).float(), affine)


def reoriented(vol, codes):
    image = nib.Nifti1Image(vol.data.numpy(), vol.affine)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(vol.affine), nib.orientations.axcodes2ornt(codes)
        )
    )
    return Volume(torch.from_numpy(np.array(turned.dataobj)), turned.affine)


def blob(shape=(20, 24, 18)):
    rng = np.random.default_rng(3)
    data = torch.from_numpy(rng.random(shape).astype(np.float32))
    data[:4] = data[:, :5] = data[:, :, -4:] = 0
    return data


def test_examples():
    assert doctest.testmod(geometry).failed == 0


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("affine", [np.diag([1.0, 2.0, 3.0, 1.0]), OBLIQUE], ids=["upright", "oblique"])
def test_canonical_undoes_every_orientation(codes, affine):
    vol = Volume(blob(), affine).canonical()
    turned = reoriented(vol, codes)
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    back = turned.canonical()
    assert torch.equal(back.data, vol.data)
    np.testing.assert_allclose(back.affine, vol.affine, atol=1e-9)


def test_canonical_keeps_channels_and_contiguity():
    vol = Volume(torch.stack([blob(), 2 * blob()]), np.diag([-1.0, 1, 1, 1]))
    out = vol.canonical()
    assert out.data.shape == (2, 20, 24, 18) and out.data.is_contiguous()
    assert torch.equal(out.data[1], 2 * out.data[0])


@pytest.mark.parametrize("start", [(0, 0, 0), (3, 2, 1), (-4, 5, -2), (15, 20, 10), (40, 0, 0)])
def test_crop_keeps_every_voxel_in_place(start):
    vol = ramp((20, 24, 18), OBLIQUE)
    out = vol.crop(start, (12, 10, 11))
    np.testing.assert_allclose(out.affine[:3, 3], transform_points(OBLIQUE, np.array(start, float)))
    expected = ramp((12, 10, 11), out.affine).data
    inside = out.data != 0
    torch.testing.assert_close(out.data[inside], expected[inside], rtol=0, atol=1e-3)
    # what lies in both boxes is there, the rest is zero
    overlap = [
        max(0, min(s + n, size) - max(s, 0))
        for s, n, size in zip(start, (12, 10, 11), (20, 24, 18), strict=True)
    ]
    assert int(inside.sum()) == int(np.prod(overlap))


def test_grid_measures():
    grid = Grid((4, 5, 6), OBLIQUE)
    np.testing.assert_allclose(grid.spacing, [0.9, 1.1, 1.3])
    assert grid.voxel_volume == pytest.approx(0.9 * 1.1 * 1.3)
    corners = grid.corners()
    assert corners.shape == (8, 3)
    for corner in ([0, 0, 0], [3, 4, 5], [3, 0, 5]):
        assert np.abs(corners - transform_points(OBLIQUE, np.array(corner, float))).sum(1).min() < 1e-9


@pytest.mark.parametrize("spacing", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("stride", [1, 8])
def test_lattice_covers_the_image(spacing, stride):
    source = Grid((31, 40, 25), OBLIQUE)
    grid = lattice(source, spacing, stride)
    assert all(n % stride == 0 for n in grid.shape)
    np.testing.assert_allclose(grid.affine[:3, :3], np.eye(3) * spacing)
    low, high = grid.corners().min(0) - spacing / 2, grid.corners().max(0) + spacing / 2
    assert (source.corners().min(0) >= low - 1e-3).all() and (source.corners().max(0) <= high + 1e-3).all()


@pytest.mark.parametrize("codes", ["LAS", "PIR", "SRA"])
def test_lattice_is_the_same_for_a_reoriented_or_padded_copy(codes):
    vol = Volume(blob(), affine_of(np.diag([0.8, 0.8, 1.2]), [-7.3, 4.1, 2.9]))
    grid = lattice(vol, 1.5)
    turned = lattice(reoriented(vol, codes), 1.5)
    assert turned.shape == grid.shape
    np.testing.assert_allclose(turned.affine, grid.affine, atol=1e-6)
    padded = lattice(vol.crop((-3, -7, -2), (40, 45, 33)), 1.5)
    step = (padded.affine[:3, 3] - grid.affine[:3, 3]) / 1.5
    np.testing.assert_allclose(step, np.round(step), atol=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR"])
def test_lattice_of_the_own_voxel_size_interpolates_nothing(codes):
    vol = reoriented(Volume(blob(), affine_of(np.eye(3), [-7.3, 4.1, 2.9])), codes)
    out = resample(vol.canonical(), lattice(vol, 1.0))
    assert torch.equal(out.data, vol.canonical().data)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("codes", ["RAS", "LIP", "ASL"])
def test_resampling_is_exact_on_a_ramp(codes, mode):
    vol = reoriented(ramp((30, 32, 28), OBLIQUE), codes)
    middle = transform_points(vol.affine, (np.array(vol.grid.shape) - 1) / 2)
    matrix = rotation((-5.0, 9.0, 3.0)) * 0.7
    affine = affine_of(matrix, middle - matrix @ np.array([4.5, 5.0, 5.5]))
    out = resample(vol, Grid((10, 11, 12), affine), mode=mode)
    torch.testing.assert_close(out.data, ramp((10, 11, 12), affine).data, rtol=0, atol=5e-3)


def test_coarser_resampling_averages_and_keeps_a_ramp():
    vol = ramp((40, 40, 40), np.eye(4))
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = 9.0
    out = resample(vol, Grid((7, 7, 7), affine))
    torch.testing.assert_close(out.data, ramp((7, 7, 7), affine).data, rtol=0, atol=1e-2)
    noise = Volume(torch.randn(60, 60, 60), np.eye(4))
    grid = Grid((16, 16, 16), affine)
    assert float(resample(noise, grid).data.std()) < 0.4


def test_nearest_keeps_labels_and_type():
    labels = Volume((blob() * 5).to(torch.int16), OBLIQUE)
    out = resample(labels, lattice(labels, 1.0), mode="nearest")
    assert out.data.dtype == torch.int16
    assert set(out.data.unique().tolist()) <= set(labels.data.unique().tolist())
    back = resample(labels, labels.grid, mode="nearest")
    assert torch.equal(back.data, labels.data)


def test_cubic_blurs_less_than_linear_and_stays_in_range():
    x = torch.linspace(0, 20 * np.pi, 80)
    vol = Volume((x.sin()[:, None, None] * torch.ones(80, 9, 9)).float(), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = 10.5
    found = {m: resample(vol, Grid((50, 9, 9), affine), mode=m).data[:, 4, 4] for m in ("linear", "cubic")}
    truth = ((torch.arange(50) + 10.5) * 20 * np.pi / 79).sin()
    error = {m: float((v - truth).abs().mean()) for m, v in found.items()}
    assert error["cubic"] < 0.2 * error["linear"]
    step = Volume((torch.arange(30) > 14).float().view(-1, 1, 1).expand(30, 8, 8).contiguous(), np.eye(4))
    fine = resample(step, Grid((60, 8, 8), np.diag([0.5, 1.0, 1.0, 1.0])), mode="cubic").data
    assert float(fine.min()) >= 0 and float(fine.max()) <= 1


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_outside_value(mode):
    vol = Volume(torch.ones(6, 6, 6), np.eye(4))
    affine = np.eye(4)
    affine[:3, 3] = -4.5
    out = resample(vol, Grid((4, 20, 20), affine), mode=mode, outside=-20.0).data
    assert float(out[0].max()) == -20
    assert float(out[:, -1].max()) == -20


def test_channels_are_resampled_alike():
    one = ramp((14, 15, 16), OBLIQUE)
    both = Volume(torch.stack([one.data, 3 * one.data]), OBLIQUE)
    grid = lattice(one, 1.7)
    for mode in ("linear", "nearest"):
        out = resample(both, grid, mode=mode).data
        torch.testing.assert_close(out[0], resample(one, grid, mode=mode).data)
        torch.testing.assert_close(out[1], 3 * out[0], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("stride", [1, 16])
@pytest.mark.parametrize("margin", [0.0, 5.0])
def test_box(margin, stride):
    data = torch.zeros(40, 41, 42, dtype=torch.uint8)
    data[10:14, 20:29, 2:7] = 1
    mask = Volume(data, np.diag([2.0, 1.0, 1.0, 1.0]))
    start, shape = box(mask, margin, stride)
    assert all(n % stride == 0 for n in shape)
    pad = np.ceil(margin / np.array([2.0, 1.0, 1.0]))
    low, high = np.array([10, 20, 2]) - pad, np.array([14, 29, 7]) + pad
    assert (np.array(start) <= low).all() and (np.array(start) + shape >= high).all()
    assert (np.array(shape) - (high - low) < stride).all()
    # the box may reach beyond the image; cropping by it loses nothing
    assert int(mask.crop(start, shape).data.sum()) == int(data.sum())
    with pytest.raises(ValueError, match="empty"):
        box(mask.with_data(torch.zeros_like(data)), margin)


def test_normalize_ignores_padding_and_outliers():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(100 + 20 * rng.standard_normal((40, 40, 40))).float()
    image[:8] = 0
    plain = normalize(image)
    assert float(plain.min()) == 0 and float(plain.max()) == 1
    padded = normalize(torch.nn.functional.pad(image, [20] * 6))[20:-20, 20:-20, 20:-20]
    assert float((padded - plain).abs().mean()) < 0.02
    image[20, 20, :10] = 1e5
    assert float((normalize(image) - plain).abs().median()) < 0.02
    assert float(normalize(torch.full((4, 4, 4), 7.0)).abs().max()) == 0


def test_coordinate_channels_are_millimeters():
    grid = Grid((5, 6, 7), OBLIQUE)
    out = geometry.coordinate_channels(grid, np.eye(4), 10.0)
    assert out.shape == (3, 5, 6, 7)
    np.testing.assert_allclose(
        out[:, 3, 2, 4] * 10, transform_points(OBLIQUE, np.array([3.0, 2, 4])), atol=1e-4
    )


@pytest.mark.parametrize("codes", ("RAS", "LIA", "PSR"))
@pytest.mark.parametrize("spacing", ([0.8, 1.0, 0.7], [2.0, 1.0, 3.5]))
def test_parallel_grids_give_what_the_general_way_gives(codes, spacing):
    torch.manual_seed(0)
    vol = reoriented(Volume(torch.rand(20, 24, 18), affine_of(np.eye(3), [-8, -12, -9.3])), codes)
    grid = Grid((22, 20, 16), affine_of(np.diag(spacing), [-9.1, -11.4, -8.2]))
    matrix = np.linalg.inv(vol.affine) @ grid.affine
    assert geometry._matched_axes(matrix, vol.data.shape)
    general = geometry._linear(geometry.antialias(vol.data[None], matrix), matrix, grid.shape, 0.0)[0]
    torch.testing.assert_close(resample(vol, grid).data, general, atol=1e-4, rtol=0)
    assert (
        geometry._matched_axes(np.linalg.inv(vol.affine) @ affine_of(rotation(), [0, 0, 0]), (20, 24, 18))
        is None
    )
