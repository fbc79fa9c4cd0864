"""Segmentation of the template: plausible, consistent, on the input's grid, however the scan is stored."""

import numpy as np
import pytest
import torch

from brainseg.models import labels, skullstrip
from brainseg.models import segmentation as stage
from brainseg.models.errors import InputError
from brainseg.models.volume import Volume, resample
from brainseg.training.metrics import dice_by_class

pytestmark = pytest.mark.slow

TABLE = labels.load("adult")


def segmented(scan: Volume):
    return stage.segment(scan, skullstrip.skullstrip(scan).mask)


@pytest.fixture(scope="module")
def found(scans):
    scan = scans.template()
    mask = skullstrip.skullstrip(scan).mask
    return scan, mask, stage.segment(scan, mask)


def agreement(a: Volume, b: Volume, least_mm3: float = 300.0) -> dict[int, float]:
    """Dice by structure, the second one brought to the first one's grid."""
    moved = resample(b, a.grid, mode="nearest").data
    return dice_by_class(moved.int(), a.data.int(), least=int(least_mm3 / a.grid.voxel_volume))


def test_everything_lies_on_the_grid_of_the_input(found):
    scan, mask, result = found
    for volume in (result.structures, result.tissue, *result.probabilities.values()):
        assert volume.grid.shape == scan.grid.shape
        np.testing.assert_array_equal(volume.affine, scan.affine)
    assert result.structures.data.dtype == torch.int16
    assert result.tissue.data.dtype == torch.uint8
    inside = mask.data > 0
    assert bool((result.structures.data[~inside] == 0).all())
    assert bool((result.structures.data[inside] > 0).all())


def test_products_agree_with_each_other(found):
    _, mask, result = found
    inside = mask.data > 0
    total = sum(p.data for p in result.probabilities.values())
    torch.testing.assert_close(total[inside], torch.ones_like(total[inside]), rtol=0, atol=0.02)
    assert float(total[~inside].max()) == 0
    tissue = torch.from_numpy(TABLE.lookup("tissue"))[result.structures.data.int()]
    assert torch.equal(tissue, result.tissue.data)
    dseg = torch.from_numpy(TABLE.lookup("dseg"))[result.structures.data.int()]
    likely = torch.stack([result.probabilities[k].data for k in ("GM", "WM", "CSF")]).argmax(0) + 1
    assert float((likely[inside] == dseg[inside]).float().mean()) > 0.97
    voxel = mask.grid.voxel_volume
    for index in (2, 3, 8, 10, 16, 41, 42, 47, 49):
        hard = float((result.structures.data == index).sum()) * voxel
        assert result.volumes[index] == pytest.approx(hard, rel=0.15), TABLE[index].name


def test_structures_are_there_and_left_is_left(found):
    _, mask, result = found
    present = set(result.structures.data.unique().tolist())
    assert set(TABLE.by_index) - present <= {0, 5, 44, 26, 58}, "only the smallest may be missing"
    for row in TABLE:
        if row.partner > row.index and row.index in present and row.partner in present:
            assert result.centroids[row.index][0] < 0 < result.centroids[row.partner][0], row.name
            # the template is symmetric
            ratio = result.volumes[row.index] / result.volumes[row.partner]
            assert 0.6 < ratio < 1.7, row.name
    brain = float(mask.data.sum()) * mask.grid.voxel_volume
    assert 0.3 < (result.volumes[3] + result.volumes[42]) / brain < 0.55
    assert 5e3 < result.volumes[10] < 12e3
    assert result.centroids[17][2] < result.centroids[10][2] < result.centroids[4][2] + 10


@pytest.mark.parametrize("change", ["reoriented", "padded", "resampled"])
def test_labels_do_not_depend_on_how_the_scan_is_stored(found, scans, change):
    scan, _, result = found
    copy = getattr(scans, change)(scan)
    again = segmented(copy).structures
    assert again.grid.shape == copy.grid.shape
    scores = agreement(result.structures, again)
    assert len(scores) > 25
    assert np.mean(list(scores.values())) >= 0.97, scores
    assert min(scores.values()) >= 0.9, scores


def test_same_input_same_output_to_the_bit(found):
    scan, mask, result = found
    again = stage.segment(scan, mask)
    assert torch.equal(again.structures.data, result.structures.data)
    assert again.volumes == result.volumes


def test_network_alone(found):
    scan, mask, result = found
    alone = stage.segment(scan, mask, likelihood=False)
    scores = agreement(result.structures, alone.structures)
    assert 0.3 < np.mean(list(scores.values())) < 1


def test_empty_mask_is_refused(found):
    scan, mask, _ = found
    with pytest.raises(InputError, match="mask is empty"):
        stage.segment(scan, mask.with_data(torch.zeros_like(mask.data)))
