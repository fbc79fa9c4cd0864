"""What the coarse network finds, and the intracranial volume, are the same on one thread and on several."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.intracranial import intracranial
from brainseg.models.localization import head, upright
from brainseg.models.population import populations

LEVELS = (0.0, 250, 180, 60, 170, 90, 120, 220, 20, 40)
"""Intensities of the mean head's classes, as in T1w images."""


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing():
    maps, spacing, _ = upright._mean_head()
    data = (maps * torch.tensor(LEVELS).view(-1, 1, 1, 1)).sum(0)
    data += 4 * torch.randn(data.shape, generator=torch.Generator().manual_seed(5))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(data.shape) - 1) / 2
    scan, before, found = Volume(data, affine), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            cavity = intracranial.measure(scan, populations.load("adult"))
            found.append((head.find(scan), cavity))
    finally:
        torch.set_num_threads(before)
    (first, cavity), *others = found
    assert cavity.volume
    for other, other_cavity in others:
        np.testing.assert_array_equal(first.to_atlas, other.to_atlas)
        assert torch.equal(first.structures.data, other.structures.data)
        assert torch.equal(first.distance.data, other.distance.data)
        assert cavity.volume == other_cavity.volume
