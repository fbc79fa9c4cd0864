"""The finer network's box: where it lies, and how its posteriors pass into those of the whole brain."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.localization.head import Coarse
from brainseg.models.population import labels
from brainseg.models.segmentation import refinement
from brainseg.models.segmentation.fusion import without_strays

CARD = {"spacing": 1.0, "shape": [32, 32, 16], "offset": [0.0, 7.0, -5.0]}


def affine_at(origin):
    out = np.eye(4)
    out[:3, 3] = origin
    return out


def probabilities(shape, origin, sure):
    data = torch.zeros(2, *shape)
    data[sure] = 1
    return Volume(data, affine_at(origin))


def test_the_box_lies_about_its_point_of_the_atlas_on_the_scans_lattice():
    scan = Volume(torch.zeros(80, 90, 70), affine_at([-40.25, -50.5, -30.0]))
    to_atlas = affine_at([3.0, -2.0, 5.0])
    seen = Coarse(scan, scan, scan, to_atlas, 0.0, 1.0)
    found = refinement.box(scan, seen, CARD)
    middle = found.affine[:3, 3] + (np.array(found.shape) - 1) / 2
    np.testing.assert_allclose(middle, [-3.0, 9.0, -10.0], atol=0.5)
    steps = found.affine[:3, 3] - scan.affine[:3, 3]
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    assert found.shape == (32, 32, 16)


def test_blending_keeps_the_whole_outside_and_takes_the_part_in_the_middle():
    whole = probabilities((40, 40, 40), [0, 0, 0], 0)
    part = probabilities((30, 30, 30), [5, 5, 5], 1)
    found = refinement.blend(whole, part).data
    torch.testing.assert_close(found.sum(0), torch.ones(40, 40, 40))
    assert float(found[1, 20, 20, 20]) == 1
    assert float(found[1, :5].max()) == 0 and float(found[1, 5:8].max()) == 0
    profile = found[1, :20, 20, 20]
    assert bool((profile.diff() >= 0).all()) and float(profile.diff().max()) < 0.2


@pytest.mark.parametrize("origin", ([-12, 3, 3], [25, -20, 3]))
def test_a_box_that_reaches_beyond_the_grid_is_cut(origin):
    whole = probabilities((40, 40, 40), [0, 0, 0], 0)
    found = refinement.blend(whole, probabilities((30, 30, 30), origin, 1)).data
    torch.testing.assert_close(found.sum(0), torch.ones(40, 40, 40))
    assert float(found[1].max()) == 1


def test_a_box_beside_the_grid_changes_nothing():
    whole = probabilities((20, 20, 20), [0, 0, 0], 0)
    found = refinement.blend(whole, probabilities((10, 10, 10), [40, 0, 0], 1))
    assert float(found.data[1].max()) == 0


def test_one_body_keeps_its_largest_piece_and_cortex_keeps_large_ones():
    table = labels.load("adult")
    thalamus, cortex = table.unsided.index(10), table.unsided.index(3)
    posteriors = torch.zeros(len(table.unsided), 20, 20, 20)
    posteriors[table.unsided.index(2)] = 0.3
    for k in (thalamus, cortex):
        z = 2 if k == thalamus else 12
        posteriors[k, 2:8, 2:8, z : z + 4] = 0.6
        posteriors[k, 12:16, 12:16, z : z + 4] = 0.6
    found = without_strays(posteriors, torch.ones(20, 20, 20), table).argmax(0)
    assert int(found[4, 4, 4]) == thalamus and int(found[13, 13, 4]) != thalamus
    assert int(found[4, 4, 14]) == cortex and int(found[13, 13, 14]) == cortex
