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
