"""The tilt of a head: its angle, and the movement that makes it upright."""

import doctest

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from brainseg.models.geometry.volume import Volume
from brainseg.models.localization import place, tilt


def _affine(degrees, scale=(1.1, 0.95, 1.0), shift=(3.0, -20.0, 8.0)):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scale)
    out[:3, 3] = shift
    return out


def test_examples_in_the_documentation():
    assert doctest.testmod(tilt).failed == 0


@pytest.mark.parametrize("degrees", [(0, 0, 0), (8, 0, 0), (5, -5, 5)])
def test_a_head_that_is_nearly_upright_stays_as_it_is(degrees):
    assert tilt.upright(_affine(degrees)) is None


@pytest.mark.parametrize("degrees", [(20, 12, 8), (-30, 0, 0), (0, 0, 45), (80, 0, 0)])
def test_a_tilted_head_becomes_upright_about_its_center(degrees):
    to_atlas = _affine(degrees)
    matrix = tilt.upright(to_atlas)
    after = tilt.moved_place(place.Place(Volume(torch.zeros(4, 4, 4), np.eye(4)), to_atlas), matrix)
    assert tilt.angle(after.to_atlas) < 0.01 < 12 < tilt.angle(to_atlas)
    center = np.linalg.inv(to_atlas)[:, 3]
    np.testing.assert_allclose(matrix @ center, center, atol=1e-9)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    # The same voxel lies at the same point of the atlas frame.
    voxel = np.array([1.0, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(after.to_atlas @ after.distance.affine @ voxel, to_atlas @ voxel, atol=1e-9)
