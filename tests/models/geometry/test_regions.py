"""Regions of a mask."""

import numpy as np
import pytest
from scipy import ndimage

from brainseg.models.geometry.regions import filled
from brainseg.models.quality.background import opened


def masks(order):
    rng = np.random.default_rng(3)
    noise = rng.random((21, 18, 30))
    yield from (np.asarray(noise < share, order=order) for share in (0.0, 0.3, 0.7, 0.95, 1.1))
    yield np.asarray(ndimage.gaussian_filter(noise, 1.5) > 0.5, order=order)


@pytest.mark.parametrize("order", ["C", "F"])
def test_holes_and_openings_are_those_of_scipy(order):
    for mask in masks(order):
        assert (filled(mask) == ndimage.binary_fill_holes(mask)).all()
        for times in (1, 2):
            assert (opened(mask, times) == ndimage.binary_opening(mask, iterations=times)).all()
