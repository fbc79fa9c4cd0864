"""Voxels in the order of files and of memory."""

import doctest

import numpy as np
import pytest

from brainseg.models.geometry import axes


def test_examples():
    assert doctest.testmod(axes).failed == 0


@pytest.mark.parametrize("shape", [(16, 16, 16), (33, 5, 17), (1, 1, 1), (70, 2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_order_changes_and_values_stay(shape, order):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape).copy(order)
    planes = list(axes.slabs(data))
    assert b"".join(part.tobytes() for part in planes) == data.tobytes(order="F")
    copy = axes.in_memory_order(data, np.float32)
    assert copy.flags.c_contiguous and copy.dtype == np.float32
    np.testing.assert_array_equal(copy, data)
