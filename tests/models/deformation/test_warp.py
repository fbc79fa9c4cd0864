"""Transforms: what we resample with is what ITK, ANTs and nitransforms read from the file."""

import numpy as np
import pytest
import torch

from brainseg.models.deformation.velocity import exponential, identity, jacobian, smooth, taper
from brainseg.models.deformation.warp import Warp
from brainseg.models.errors import InputError
from brainseg.models.geometry import volume
from brainseg.models.geometry.trilinear import sample
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.io import itk


def turn(degrees: float, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    angle = np.deg2rad(degrees)
    out = np.eye(4)
    out[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    out[:3, 3] = shift
    return out


@pytest.fixture(scope="module")
def velocity() -> torch.Tensor:
    noise = torch.randn(3, 36, 40, 32, generator=torch.Generator().manual_seed(3))
    return smooth(noise, 4.0) * 40 * taper((36, 40, 32), 8)


@pytest.fixture(scope="module")
def warp(velocity) -> Warp:
    """An oblique affine, a field on a flipped and permuted grid, another affine."""
    affine = np.array([[0, -2.0, 0, 40], [-2.0, 0, 0, 30], [0, 0, 2.0, -35], [0, 0, 0, 1]])
    scaled = np.diag([1.05, 0.95, 1.1, 1.0])
    field = Volume(torch.round(exponential(velocity) * 2 * itk.STEP) / itk.STEP, affine)
    return Warp((turn(12, (3, -2, 1)), field, scaled))


def test_exponential_of_negative_is_inverse_and_nothing_folds(velocity):
    index = identity((36, 40, 32), velocity)
    there, back = exponential(velocity), exponential(-velocity)
    assert there.abs().max() > 1.5
    returned = there + sample(back, index + there)
    assert returned.norm(dim=0).mean() * 2 < 0.1
    assert (jacobian(there) > 0).all()


def test_jacobian_sees_a_fold():
    field = torch.zeros(3, 6, 6, 6)
    field[0, 3] = -1.5
    assert float((jacobian(field) <= 0).float().mean()) > 0.1


def test_points_follow_steps_in_order():
    shift, double = np.eye(4), np.diag([2.0, 2.0, 2.0, 1.0])
    shift[0, 3] = 1.0
    assert Warp((shift, double)).points(np.array([[1.0, 0, 0]])).tolist() == [[4.0, 0.0, 0.0]]
    assert np.allclose(Warp((shift, double)).matrix, double @ shift)


def test_resample_by_matrix_agrees_with_volume_resample():
    data = torch.rand(20, 22, 24, generator=torch.Generator().manual_seed(0))
    source = Volume(smooth(data[None], 2.0)[0], np.diag([1.0, 1.5, 1.0, 1.0]))
    matrix = turn(8, (1, 2, 0.5))
    grid = Grid((18, 18, 18), turn(0, (2, 4, 2)))
    for mode in ("linear", "nearest", "cubic"):
        ours = Warp((matrix,)).resample(source, grid, mode).data
        moved = Volume(source.data, np.linalg.inv(matrix) @ source.affine)
        expected = volume.resample(moved, grid, mode).data
        assert (ours - expected).abs().mean() < 1e-3, mode


def test_jacobian_of_a_scaling():
    grid = Grid((8, 8, 8), np.diag([2.0, 2.0, 2.0, 1.0]))
    found = Warp((np.diag([1.5, 1.0, 1.0, 1.0]),)).jacobian(grid)
    assert found.grid.shape == (8, 8, 8)
    assert torch.allclose(found.data, torch.tensor(1.5), atol=1e-4)


def test_file_is_read_back_and_is_the_same_bytes_every_time(tmp_path, warp):
    for name in ("a.h5", "b.h5"):
        itk.write(tmp_path / name, warp)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    points = np.random.default_rng(0).uniform(-30, 30, (200, 3))
    assert np.allclose(itk.read(tmp_path / "a.h5").points(points), warp.points(points), atol=1e-4)
    itk.write(tmp_path / "plain.h5", warp, compress=False)
    assert (
        itk.read(tmp_path / "plain.h5").points(points) == itk.read(tmp_path / "a.h5").points(points)
    ).all()
    (tmp_path / "c.h5").write_bytes(b"no")
    with pytest.raises(InputError, match=r"c\.h5"):
        itk.read(tmp_path / "c.h5")


def test_simpleitk_moves_points_as_we_do(tmp_path, warp):
    sitk = pytest.importorskip("SimpleITK")
    itk.write(tmp_path / "x.h5", warp)
    theirs = sitk.ReadTransform(str(tmp_path / "x.h5"))
    points = np.random.default_rng(1).uniform(-28, 28, (100, 3))
    flip = np.array([-1.0, -1.0, 1.0])
    found = np.array([theirs.TransformPoint((p * flip).tolist()) for p in points]) * flip
    assert np.linalg.norm(found - points, axis=1).max() > 3
    assert np.abs(found - warp.points(points)).max() < 0.01


def test_antspyx_moves_points_as_we_do(tmp_path, warp):
    ants = pytest.importorskip("ants")
    import pandas as pd

    itk.write(tmp_path / "x.h5", warp)
    points = np.random.default_rng(2).uniform(-28, 28, (50, 3))
    frame = pd.DataFrame(points * [-1, -1, 1], columns=list("xyz"))
    found = ants.apply_transforms_to_points(3, frame, [str(tmp_path / "x.h5")])
    found = found[["x", "y", "z"]].to_numpy() * [-1, -1, 1]
    assert np.linalg.norm(found - warp.points(points), axis=1).max() < 0.1


def test_nitransforms_moves_points_as_we_do(tmp_path, warp):
    manip = pytest.importorskip("nitransforms.manip")
    itk.write(tmp_path / "x.h5", warp)
    theirs = manip.TransformChain.from_filename(tmp_path / "x.h5", fmt="itk")
    points = np.random.default_rng(3).uniform(-25, 25, (100, 3))
    error = np.linalg.norm(theirs.map(points) - warp.points(points), axis=1)
    assert np.linalg.norm(warp.points(points) - points, axis=1).max() > 3
    assert error.mean() < 0.1 and error.max() < 0.3


def test_labels_are_those_of_the_largest_interpolated_map():
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 5, (7, 8, 6)).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    labels = Volume(torch.from_numpy(blocks.astype(np.int16)), np.eye(4))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    turn[:3, 3] = 1.3, -2.2, 0.7
    grid = Grid((25, 24, 20), np.eye(4))
    found = Warp((turn,)).resample(labels, grid, "label").data
    maps = torch.stack([(labels.data == k).float() for k in range(1, 5)])
    shares = Warp((turn,)).resample(labels.with_data(maps), grid).data
    shares = torch.cat([1 - shares.sum(0, keepdim=True), shares])
    best = shares.gather(0, found.long()[None])[0]
    assert found.dtype == torch.int16 and bool((best >= shares.max(0).values - 1e-5).all())
    # On the voxels nothing changes, in one plane neither; beyond the edge is what is asked for.
    same = Warp((np.eye(4),)).resample(labels, labels.grid, "label").data
    assert torch.equal(same, labels.data)
    plane = Volume(labels.data[:, :, :1], np.eye(4))
    assert torch.equal(Warp((np.eye(4),)).resample(plane, plane.grid, "label").data, plane.data)
    far = np.eye(4)
    far[0, 3] = 100.0
    assert set(Warp((far,)).resample(labels, grid, "label", -1).data.unique().tolist()) == {-1}


def test_points_of_a_grid_are_those_of_its_voxels(warp):
    grid = Grid((5, 6, 7), np.diag([3.0, 2.0, 4.0, 1.0]))
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    expected = warp.points(voxels * [3.0, 2.0, 4.0])
    affine = np.eye(4)
    affine[:3, 3] = -100
    lines = torch.meshgrid(*(torch.arange(200.0),) * 3, indexing="ij")
    found = warp.resample(Volume(torch.stack(lines), affine), grid).data.numpy() - 100
    assert np.allclose(np.moveaxis(found, 0, -1), expected, atol=5e-4)


def test_a_point_between_two_voxels_gets_the_upper_one_everywhere():
    image = Volume(torch.arange(300, dtype=torch.int16).view(300, 1, 1), np.eye(4))
    shift = np.eye(4)
    shift[0, 3] = 0.5
    for warp in (Warp((shift,)), Warp((turn(0, (-90.2, 0, 0)), turn(0, (90.7, 0, 0))))):
        found = warp.resample(image, Grid((299, 1, 1), np.eye(4)), "nearest").data.flatten()
        assert torch.equal(found, torch.arange(1, 300, dtype=torch.int16))


@pytest.mark.parametrize("mode", ["linear", "nearest", "label"])
def test_places_that_are_known_resample_as_the_transform_does(mode):
    noise = torch.Generator().manual_seed(0)
    field = Volume(torch.randn(3, 8, 9, 10, generator=noise) * 2, np.diag([3.0, 3, 3, 1]))
    turn = np.eye(4)
    turn[:3, :3] = [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
    warp = Warp((turn, field))
    values = torch.arange(20 * 22 * 24).view(20, 22, 24) // 90
    source = Volume(values if mode != "linear" else values.float(), np.diag([1.1, 1, 1.2, 1]))
    affine = np.eye(4)
    affine[:3, 3] = -2
    grid = Grid((18, 25, 21), affine)
    placed, whole = warp.placed(grid), warp.resample(source, grid, mode).data
    window = slice(3, 18), slice(0, 9), slice(5, 21)
    part = placed.resample(source, mode, window=window)
    for found, truth in ((placed.resample(source, mode).data, whole), (part.data, whole[window])):
        assert (
            (found.float() - truth.float()).abs().max() < 0.1
            if mode == "linear"
            else (found == truth).float().mean() > 0.999
        )
    assert np.allclose(part.affine[:3, 3], [1, -2, 3])
