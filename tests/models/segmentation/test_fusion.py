"""What a scan shows on a grid, and the structures' probabilities there."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume, lattice
from brainseg.models.population import labels
from brainseg.models.segmentation import fusion


@pytest.fixture
def brain():
    """A box of two levels in a larger field, and where it is."""
    image = torch.zeros(40, 36, 32)
    image[8:32, 8:28, 8:24] = 100.0
    image[20:32, 8:28, 8:24] = 40.0
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (20.0, -18.0, -16.0)
    return Volume(image, affine), Volume((image > 0).to(torch.uint8), affine)


def test_a_scan_is_seen_upright_and_on_a_coarser_grid(brain):
    image, mask = brain
    scan = fusion.sample(image, mask, lattice(image, 1.0))
    assert len(scan.intensities) == int(scan.inside.sum()) == int(mask.data.sum())
    torch.testing.assert_close(scan.image.data, image.canonical().data, atol=1e-3, rtol=0)
    coarse = scan.on(lattice(scan.grid, 2.0))
    assert coarse.grid.spacing.tolist() == [2.0, 2.0, 2.0]
    size = [int(scan.inside.sum()), 8 * int(coarse.inside.sum())]
    assert size[1] == pytest.approx(size[0], rel=0.35)
    middle = coarse.image.data[coarse.inside]
    assert float(middle.min()) >= 0 and float(middle.max()) == pytest.approx(100, abs=8)


def test_outside_of_the_brain_there_is_background_and_inside_none(brain):
    image, mask = brain
    table = labels.load("adult")
    scan = fusion.sample(image, mask, lattice(image, 1.0))
    prior = torch.full((len(table.unsided), *scan.grid.shape), 0.01)
    bright = scan.image.data > 70
    prior[table.unsided.index(2), bright] = 0.8
    prior[table.unsided.index(3), ~bright] = 0.8
    found = fusion.fitted(scan, Volume(prior, scan.grid.affine), table, True, []).data
    torch.testing.assert_close(found.sum(0), torch.ones(scan.grid.shape), atol=1e-4, rtol=0)
    assert torch.equal(found[0] > 0.5, ~scan.inside)
    label = found.argmax(0)
    assert bool((label[bright] == table.unsided.index(2)).float().mean() > 0.95)


def test_small_probabilities_all_over_the_brain_add_no_volume():
    torch.manual_seed(0)
    posteriors = torch.full((4, 20, 20, 20), 0.02)
    posteriors[1] = 0.94
    posteriors[1:3, 5:8, 5:8, 5:8] = torch.tensor([0.3, 0.66])[
        :, None, None, None
    ]  # the structure: 27 voxels
    found = fusion.without_tails(posteriors)
    torch.testing.assert_close(found.sum(0), torch.ones(20, 20, 20))
    assert float(found[2].sum()) == pytest.approx(27 * 0.66 / 0.96, rel=1e-4)
    assert float(found[3].sum()) == 0
