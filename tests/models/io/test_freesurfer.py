"""Images on FreeSurfer's conformed grid: of any orientation, with left and right, and what does not fit."""

import doctest
import gzip

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Grid, Volume, transform_points
from brainseg.models.io import freesurfer

LEFT, RIGHT, FRONT = (-40.0, -20.0, 30.0), (38.0, -22.0, 28.0), (3.0, 60.0, 10.0)


def test_examples():
    assert doctest.testmod(freesurfer).failed == 0


def oblique(axes="RAS", spacing=(1.0, 1.2, 0.9), shift=(6.0, -14.0, 25.0)) -> Volume:
    """A labeled image in an order of axes, turned by 15 and 8 degrees: balls left (3), right (42), front."""
    a, b = np.radians(15), np.radians(8)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    shape = (180, 190, 200)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = np.array(shift) - affine[:3, :3] @ (np.array(shape) / 2)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    points = transform_points(affine, grid.reshape(-1, 3).astype(float)).reshape(*shape, 3)
    data = np.zeros(shape, np.int16)
    for place, label in ((LEFT, 3), (RIGHT, 42), (FRONT, 2)):
        data[((points - place) ** 2).sum(-1) < 12**2] = label
    turned = nib.Nifti1Image(data, affine)
    codes = nib.orientations.axcodes2ornt(axes)
    turned = turned.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), codes)
    )
    return Volume(torch.from_numpy(np.array(turned.dataobj)), turned.affine)


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSL"])
def test_places_in_space_stay(axes):
    """The file is read by another reader: structures lie where they lie in the oblique image."""
    volume = oblique(axes)
    grid, moved = freesurfer.conformed_grid(volume.grid, volume)
    assert not moved and grid.shape == (256, 256, 256)
    values = freesurfer.labels(volume, grid)
    image = nib.MGHImage.from_bytes(gzip.decompress(freesurfer.packed(values, grid)))
    assert nib.aff2axcodes(image.affine) == ("L", "I", "A")
    assert np.allclose(image.header.get_zooms(), 1) and image.get_data_dtype().newbyteorder("=") == np.int32
    center = transform_points(volume.affine, np.array(volume.grid.shape) / 2)
    assert np.allclose(image.affine @ [128, 128, 128, 1], [*center, 1], atol=1e-3)
    data = np.asarray(image.dataobj)
    for place, label in ((LEFT, 3), (RIGHT, 42), (FRONT, 2)):
        where = transform_points(image.affine, np.argwhere(data == label).astype(float))
        assert np.allclose(where.mean(0), place, atol=0.2)
        assert len(where) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert set(np.unique(data)) == {0, 2, 3, 42}


@pytest.mark.slow
def test_intensities_and_labels_overlay():
    volume = oblique()
    grid, _ = freesurfer.conformed_grid(volume.grid, volume)
    labels = freesurfer.labels(volume, grid)
    bright = volume.with_data((volume.data == 2).float() * 400 + (volume.data == 3).float() * 200)
    t1 = freesurfer.normalized(freesurfer.image(bright, grid), labels == 2)
    assert t1.dtype == np.uint8
    assert t1[labels == 2].mean() == pytest.approx(110, abs=1)
    assert np.median(t1[labels == 3]) == pytest.approx(55, abs=3)
    assert np.median(t1[labels == 42]) == 0


def test_a_brain_that_would_not_fit_is_centered():
    """The brain lies at one end of an image of half a meter."""
    mask = torch.zeros(100, 100, 260, dtype=torch.uint8)
    mask[20:80, 20:80, 200:258] = 1
    volume = Volume(mask, np.diag([2.0, 2.0, 2.0, 1.0]))
    grid, moved = freesurfer.conformed_grid(volume.grid, volume)
    assert moved
    inside = freesurfer.labels(volume.with_data(mask.short()), grid)
    assert inside.sum() == pytest.approx(8 * int(mask.sum()), rel=0.03)


def test_files_are_the_same_again():
    values = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    grid = Grid((2, 2, 2), np.eye(4))
    first, second = freesurfer.packed(values, grid), freesurfer.packed(values, grid)
    assert first == second
    assert gzip.decompress(first)


def test_nothing_to_label_or_to_see():
    empty = Volume(torch.zeros(4, 4, 4, dtype=torch.int16), np.eye(4))
    grid, moved = freesurfer.conformed_grid(empty.grid, empty)
    assert not moved and not freesurfer.labels(empty, grid).any()
    assert not freesurfer.normalized(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool)).any()
