"""Orientation of voxel axes: the same as nibabel's, to the byte."""

import doctest

import numpy as np
import pytest
from nibabel.orientations import inv_ornt_aff, io_orientation

from brainseg.models.geometry import orientation

SHAPE = (7, 11, 13)


def affines():
    """Return affines of all orientations: upright, oblique, sheared, and with ties."""
    rng = np.random.default_rng(0)
    out = []
    for axes in np.argsort(rng.random((60, 3)), axis=1):
        signs = rng.choice([-1, 1], 3)
        turn = np.eye(3)[axes] * signs
        for noise in (0, 0.2, 0.6):
            affine = np.eye(4)
            affine[:3, :3] = (turn + noise * rng.normal(size=(3, 3))) @ np.diag(rng.uniform(0.5, 4, 3))
            affine[:3, 3] = rng.normal(size=3) * 90
            out.append(affine)
    tied = np.eye(4)
    tied[:2, :2] = [[1, -1], [1, 1]]
    return [*out, tied]


@pytest.mark.parametrize("affine", affines())
def test_agrees_with_nibabel(affine):
    expected = io_orientation(affine)
    axes, signs = orientation.closest_axes(affine)
    np.testing.assert_array_equal(np.stack([axes, signs], 1), expected)
    found = affine @ orientation.to_canonical(axes, signs, SHAPE)
    assert found.tobytes() == (affine @ inv_ornt_aff(expected, SHAPE)).tobytes()


def test_examples_are_true():
    assert doctest.testmod(orientation).failed == 0
