"""Distances to a mask and its closing, against SciPy's distance transform."""

import numpy as np
import pytest
from scipy import ndimage

from brainseg.models.geometry import distance


@pytest.mark.parametrize(
    ("radius", "spacing"),
    [(0.5, 1.0), (4.0, 1.0), (4.5, 1.0), (5.0, 0.7), (4.0, 1.5), (12.0, 1.0), (40.0, 1.0)],
)
def test_within_a_distance_as_the_transform_says(radius, spacing):
    mask = np.random.default_rng(0).random((31, 8, 40)) > 0.999
    truth = ndimage.distance_transform_edt(~mask, spacing) <= radius + 1e-9
    assert (distance.within(mask, radius, spacing) == truth).all()


def test_nothing_is_near_an_empty_mask():
    assert not distance.within(np.zeros((5, 6, 7), bool), 4.0).any()


@pytest.mark.parametrize("spacing", [1.0, 1.5])
def test_closing_fills_sulci_and_keeps_the_outer_surface(spacing):
    axes = np.indices((50, 50, 50)) - 24.5
    radius = spacing * np.sqrt((axes**2).sum(0))
    block = radius < 18 * spacing
    sulcus = block & (abs(axes[0]) * spacing < 2) & (axes[2] > 5)
    shut = distance.closed(block & ~sulcus, 4.0, spacing)
    assert shut[sulcus & (radius < 15 * spacing)].all()
    assert not shut[radius > 18 * spacing].any()
    wide = distance.closed(block & ~sulcus, 4.0, spacing, rim=spacing)
    assert wide[shut].all() and wide.any((1, 2)).sum() == shut.any((1, 2)).sum() + 2
    assert not wide[radius > 20.1 * spacing].any()


@pytest.mark.parametrize("spacing", [1.0, (0.8, 1.2, 2.5)])
@pytest.mark.parametrize("share", [0.2, 0.001, 0.00002])
@pytest.mark.parametrize("looks", [distance.MOST_LOOKS, 2**22, 1])
def test_the_nearest_voxel_is_as_near_as_the_transform_says(spacing, share, looks, monkeypatch):
    monkeypatch.setattr(distance, "MOST_LOOKS", looks)
    random = np.random.default_rng(1)
    known, wanted = random.random((50, 41, 53)) < share, random.random((50, 41, 53)) < 0.05
    index, found = distance.nearest(known, wanted, spacing)
    truth = ndimage.distance_transform_edt(~known, spacing)[wanted]
    assert np.abs(found - truth).max() < 1e-9 and known.ravel()[index].all()
    steps = np.subtract(np.unravel_index(index, known.shape), np.nonzero(wanted)).T * spacing
    assert np.linalg.norm(steps, axis=1) == pytest.approx(found)


@pytest.mark.parametrize("spacing", [0.1, 0.6666666666666667])
def test_the_nearest_voxel_of_a_small_box_of_fine_voxels(spacing):
    random = np.random.default_rng(0)
    known = random.random((30, 30, 30)) < 0.0002
    wanted = (random.random(known.shape) < 0.15) & ~known
    found = distance.nearest(known, wanted, spacing)[1]
    truth = ndimage.distance_transform_edt(~known, np.full(3, spacing))[wanted]
    assert np.abs(found - truth).max() < 1e-9


def test_few_voxels_far_away_find_the_nearest():
    known, wanted = np.zeros((70, 5, 6), bool), np.zeros((70, 5, 6), bool)
    known[0, 2, 3] = known[69, 0, 0] = True
    wanted[30, 2, 3] = wanted[0, 2, 3] = wanted[60, 0, 0] = True
    index, found = distance.nearest(known, wanted, 2.0)
    assert found.tolist() == [0, 60, 18]
    assert index.tolist() == [15, 15, 69 * 30]


def test_nothing_is_near_if_nothing_is_known():
    index, found = distance.nearest(np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool))
    assert index.shape == (60,) and np.isinf(found).all()
