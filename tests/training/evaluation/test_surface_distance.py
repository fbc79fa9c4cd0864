"""Learn2Reg's Hausdorff distance: known distances, and figures of DeepMind's surface-distance."""

import numpy as np
import pytest
from scipy import ndimage

from brainseg.training.evaluation.surface_distance import robust_hausdorff


@pytest.fixture(scope="module")
def blobs():
    r = np.random.default_rng(0)
    one, other = (ndimage.gaussian_filter(r.normal(size=(24, 24, 24)), 2.0) for _ in range(2))
    return one > 0, one + other > 0


@pytest.mark.parametrize(
    ("spacing", "percent", "expected"),
    [
        ((1, 1, 1), 80, 1.0),
        ((1, 1, 1), 95, 2.2360679775),
        ((1.5, 0.8, 1.1), 80, 1.3601470509),
        ((1.5, 0.8, 1.1), 95, 2.6400757565),
    ],
)
def test_as_surface_distance_says(blobs, spacing, percent, expected):
    # compute_robust_hausdorff(compute_surface_distances(a, b, spacing), percent) of surface-distance 0.1
    assert robust_hausdorff(*blobs, spacing, percent) == pytest.approx(expected)
    assert robust_hausdorff(*blobs[::-1], spacing, percent) == pytest.approx(expected)


def test_the_same_mask_is_at_no_distance_and_an_empty_one_at_none(blobs):
    assert robust_hausdorff(blobs[0], blobs[0]) == 0.0
    assert np.isnan(robust_hausdorff(blobs[0], np.zeros_like(blobs[0])))
