"""Voxels in the order of files and of memory."""

import doctest
import itertools

import numpy as np
import pytest
import torch

from brainseg.models.geometry import axes, orientation
from brainseg.models.geometry.axes import extent, occupied
from brainseg.models.geometry.volume import Grid, Volume, resample


def test_examples():
    assert doctest.testmod(axes).failed == 0
    assert doctest.testmod(orientation).failed == 0


@pytest.mark.parametrize(
    "shape", [(16, 16, 16), (33, 5, 17), (1, 1, 1), (70, 2, 0), (5, 20, 17, 3), (4, 4, 2, 2, 3)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_order_changes_and_values_stay(shape, order):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape).copy(order)
    planes = list(axes.slabs(data))
    assert b"".join(part.tobytes() for part in planes) == data.tobytes(order="F")
    if len(shape) > 3:
        return
    copy = axes.in_memory_order(data, np.float32)
    assert copy.flags.c_contiguous and copy.dtype == np.float32
    np.testing.assert_array_equal(copy, data)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_grids_with_the_same_voxels_in_another_order_need_no_interpolation(mode):
    generator = torch.Generator().manual_seed(2)
    image = Volume(torch.rand(2, 6, 7, 8, generator=generator), np.diag([2.0, 2.0, 2.0, 1.0]))
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 2.0 * np.eye(3)[:, list(order)] * signs
            affine[:3, 3] = [4.0, 8.0, 2.0]  # a part of the box lies outside the image
            found = resample(image, Grid((5, 4, 6), affine), mode).data
            for index in itertools.product(range(5), range(4), range(6)):
                place = np.round((affine[:3, :3] @ index + affine[:3, 3]) / 2).astype(int)
                within = (place >= 0).all() and (place < [6, 7, 8]).all()
                expected = image.data[:, *place.tolist()] if within else torch.zeros(2)
                assert torch.equal(found[:, *index], expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_extent_is_that_of_the_mask_in_any_order_of_memory(order):
    mask = np.zeros((6, 7, 8), bool, order=order)
    mask[1, 2, 3] = mask[4, 5, 3] = True
    assert extent(mask) == ((1, 4), (2, 5), (3, 3))
    assert extent(mask.transpose(1, 2, 0)) == ((2, 5), (3, 3), (1, 4))
    assert extent(np.zeros((2, 3, 4), bool)) is None


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_the_box_of_values_is_that_of_what_is_not_zero(kind, order):
    values = np.zeros((6, 7, 8), kind, order=order)
    values[1, 2, 3], values[4, 5, 3] = 3, -3 if kind is not np.uint8 else 4
    assert occupied(values) == (slice(1, 5), slice(2, 6), slice(3, 4))
    assert occupied(np.zeros((2, 3, 4), kind)) == (slice(0, 0), slice(0, 0), slice(0, 0))
