"""Rigid alignment of images of one head: known motions are found, and averages lie in the middle."""

import doctest

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume, lattice, resample, transform_points
from brainseg.models.registration import coregistration


@pytest.fixture(scope="module")
def head(scans):
    """The template at 2.5 mm and its brain mask."""
    scan = scans.template()
    small = resample(scan, lattice(scan, 2.5))
    return small, scans.brain_of(small)


def turn(degrees=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)):
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    out[:3, 3] = shift
    return out


def moved(volume, matrix, contrast=lambda data: data):
    """The image as a scanner would have taken it after the head had moved by the inverse of ``matrix``."""
    seen = resample(Volume(volume.data, np.linalg.inv(matrix) @ volume.affine), volume.grid)
    return seen.with_data(contrast(seen.data))


def other_contrast(data):
    """Dark where the template is bright, in the brain, with some noise."""
    top = float(data.max())
    out = torch.where(data > 0.05 * top, 1.15 * top - data, 0.0)
    return out + 0.02 * top * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))


def worst(found, wanted, mask):
    points = transform_points(mask.affine, np.argwhere(mask.data.numpy() > 0)[::5000].astype(float))
    return np.linalg.norm(transform_points(found, points) - transform_points(wanted, points), axis=1).max()


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "shift"), [((4, -3, 5), (6, -4, 3)), ((12, 8, -10), (5, 0, -7))])
def test_a_known_motion_is_found_across_contrasts(head, degrees, shift):
    image, mask = head
    wanted = turn(degrees, shift)
    scan = moved(image, wanted, other_contrast)
    found = coregistration.rigid(scan, image, mask)
    assert worst(found.matrix, wanted, mask) < 1.0
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_a_far_move_by_the_header_is_found(head):
    image, mask = head
    wanted = turn((3, 0, -4), (90, 60, -70))
    scan = Volume(other_contrast(image.data), np.linalg.inv(wanted) @ image.affine)
    found = coregistration.rigid(scan, image, mask)
    assert worst(found.matrix, wanted, mask) < 1.0
    again = coregistration.rigid(scan, image, mask)
    np.testing.assert_allclose(found.matrix, again.matrix, atol=1e-9)


@pytest.mark.slow
def test_the_average_lies_in_the_middle(head):
    image, mask = head
    motions = [turn((2, 0, 3), (4, 0, -2)), turn((-2, 1, -3), (-4, 2, 2))]
    scans = [Volume(image.data.float(), np.linalg.inv(m) @ image.affine) for m in motions]
    mean, matrices = coregistration.average(scans, levels=(4.0,))
    assert mean.grid.spacing == pytest.approx([2.5] * 3)
    # all scans land on each other
    ways = [matrix @ np.linalg.inv(motion) for matrix, motion in zip(matrices, motions, strict=True)]
    for way in ways[1:]:
        assert worst(way, ways[0], mask) < 1.0
    # and none moved further than the others would have it
    np.testing.assert_allclose(coregistration.halfway(matrices), np.eye(4), atol=0.1)


@pytest.mark.parametrize("count", [2, 3])
def test_outside_of_one_field_of_view_the_average_is_that_of_the_others(head, count):
    whole, _ = head
    part = whole.crop((0, 0, 0), (*whole.grid.shape[:2], whole.grid.shape[2] * 2 // 3))
    volumes = [whole, part, whole][:count]
    mean = coregistration._mean(volumes, [np.eye(4)] * count, float(whole.grid.spacing[0]))
    alone = coregistration._mean([whole, whole], [np.eye(4)] * 2, float(whole.grid.spacing[0]))
    top = part.grid.shape[2] + 2
    bright = alone.data[:, :, top:] > alone.data.mean()
    assert bright.any()
    ratio = mean.data[:, :, top:][bright] / alone.data[:, :, top:][bright]
    assert float((ratio - 1).abs().max()) < 0.05


def test_examples_are_true():
    assert doctest.testmod(coregistration).failed == 0
