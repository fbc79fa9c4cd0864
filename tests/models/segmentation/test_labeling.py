"""Labels, probability maps and volumes of one scan agree with each other."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.population import labels
from brainseg.models.segmentation import labeling


@pytest.mark.parametrize("name", ["adult", "fetal"])
def test_totals_are_the_sums_of_the_probability_maps(name):
    table, generator = labels.load(name), torch.Generator().manual_seed(1)
    posteriors = (3 * torch.randn(len(table.unsided), 6, 7, 8, generator=generator)).softmax(0)
    posteriors[3, 2:4] *= 0.01  # as where a stray piece of a structure was reduced
    coarse, fine = np.diag([2.0, 2.0, 2.0, 1.0]), np.eye(4)
    scan = Volume(torch.ones(12, 14, 16), fine)
    mask = scan.with_data((torch.rand(12, 14, 16, generator=generator) > 0.3).to(torch.uint8))
    left = Volume(torch.randn(6, 7, 8, generator=generator), coarse)
    found = labeling.label(scan, mask, Volume(posteriors, coarse), left, table, [])
    totals = labels.add_up(found.volumes, table)
    for total in labels.totals().values():
        if total.map:
            in_map = float(found.probabilities[total.map].data.double().sum())
            assert totals[total.name] == pytest.approx(in_map, rel=1e-5)
