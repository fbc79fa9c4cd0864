"""Segmentation of the template: plausible, consistent, on the input's grid, however the scan is stored."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume, resample
from brainseg.models.localization import tilt
from brainseg.models.population import labels
from brainseg.models.segmentation import labeling, skullstrip
from brainseg.models.segmentation import segmentation as stage
from brainseg.training.evaluation.metrics import dice_by_class

pytestmark = pytest.mark.slow

TABLE = labels.load("adult")


def segmented(scan: Volume):
    return stage.segment(scan, skullstrip.skullstrip(scan).mask)


@pytest.fixture(scope="module")
def found(scans):
    scan = scans.template()
    mask = skullstrip.skullstrip(scan).mask
    return scan, mask, stage.segment(scan, mask)


def on_grid_of(a: Volume, labels_of_b: Volume) -> torch.Tensor:
    """Labels on another grid: every label's indicator is interpolated, the largest one wins.

    Nearest neighbors would not do: taken between the voxels of another grid they move every border by up
    to half a voxel, and cortex is three voxels thick.
    """
    if a.grid.shape == labels_of_b.grid.shape and np.allclose(a.affine, labels_of_b.affine):
        return labels_of_b.data.int()
    out = torch.zeros(a.grid.shape, dtype=torch.int32)
    best = torch.zeros(a.grid.shape)
    for value in labels_of_b.data.unique().tolist():
        share = resample(labels_of_b.with_data((labels_of_b.data == value).float()), a.grid).data
        out = torch.where(share > best, value, out)
        best = torch.maximum(share, best)
    return out


def agreement(a: Volume, b: Volume, least_mm3: float = 300.0) -> tuple[float, dict[int, float]]:
    """Dice over all labeled voxels, and by structure."""
    one, other = a.data.int(), on_grid_of(a, b)
    same = int(((one == other) & (one > 0)).sum())
    total = 2 * same / int((one > 0).sum() + (other > 0).sum())
    return total, dice_by_class(other, one, least=int(least_mm3 / a.grid.voxel_volume))


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


@pytest.mark.parametrize("turn", [(35, 12, 8), (-25, 0, 0)])
def test_a_tilted_head_has_the_same_labels_in_its_place(found, turn):
    scan, mask, result = found
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    tilted = stage.segment(*(tilt.moved(one, matrix) for one in (scan, mask)))
    assert any("tilted by" in note for note in tilted.notes) and not any("tilted" in n for n in result.notes)
    np.testing.assert_allclose(tilted.structures.affine, matrix @ scan.affine)
    total, single = agreement(result.structures, scan.with_data(tilted.structures.data))
    assert total > 0.92 and min(single.values()) > 0.6
    for index, point in result.centroids.items():
        moved = matrix[:3, :3] @ np.array(point)
        assert np.linalg.norm(moved - np.array(tilted.centroids[index])) < 3
    whole = resample(tilted.posteriors, tilted.structures.grid).data[1:].sum(0)
    assert float((whole[mask.data > 0] > 0.5).float().mean()) > 0.99


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


@pytest.mark.parametrize(
    ("change", "mean", "least"),
    [("reoriented padded", 0.97, 0.97), ("resampled", 0.95, 0.85)],
)
def test_labels_do_not_depend_on_how_the_scan_is_stored(found, scans, change, mean, least):
    """Dice over the labels is 0.97 or more; by structure too, where no voxel had to be interpolated."""
    scan, _, result = found
    copy = scan
    for name in change.split():
        copy = getattr(scans, name)(copy)
    again = segmented(copy).structures
    assert again.grid.shape == copy.grid.shape
    total, scores = agreement(result.structures, again)
    assert len(scores) > 25
    assert total >= 0.97
    assert np.mean(list(scores.values())) >= mean, scores
    assert min(scores.values()) >= least, scores


def test_same_input_same_output_to_the_bit(found):
    scan, mask, result = found
    again = stage.segment(scan, mask)
    assert torch.equal(again.structures.data, result.structures.data)
    assert again.volumes == result.volumes


def test_network_alone(found):
    scan, mask, result = found
    alone = stage.segment(scan, mask, likelihood=False)
    total, scores = agreement(result.structures, alone.structures)
    assert 0.7 < total < 1 and 0.5 < np.mean(list(scores.values())) < 1


def test_fluid_around_the_mask_is_seen_and_gets_no_label(found):
    scan, mask, result = found
    tight = mask.with_data(
        torch.from_numpy(ndimage.binary_erosion(mask.data.numpy(), iterations=2)).to(torch.uint8)
    )
    seen = stage.segment(scan, tight, region=mask)
    inside = tight.data > 0
    assert bool((seen.structures.data[~inside] == 0).all()) and bool((seen.structures.data[inside] > 0).all())
    volume = float(inside.sum()) * scan.grid.voxel_volume
    assert sum(seen.volumes.values()) == pytest.approx(volume, rel=2e-3)
    # Deep in the brain nothing changes.
    same = seen.structures.data == result.structures.data
    deep = torch.from_numpy(ndimage.binary_erosion(mask.data.numpy(), iterations=12))
    assert float(same[deep].float().mean()) > 0.995


def test_every_volume_lies_in_its_interval(found):
    _, _, result = found
    assert set(result.intervals) == set(result.volumes)
    for index, (low, high) in result.intervals.items():
        assert 0 <= low <= result.volumes[index] <= high, index
    relative = {k: (high - low) / result.volumes[k] for k, (low, high) in result.intervals.items()}
    # Small structures are relatively less sure; the thalamus (10) is larger than the accumbens (26).
    assert 0.01 < relative[2] < 0.3 and relative[26] > relative[10]


def test_empty_mask_is_refused(found):
    scan, mask, _ = found
    with pytest.raises(InputError, match="mask is empty"):
        stage.segment(scan, mask.with_data(torch.zeros_like(mask.data)))


def test_uncertainty_is_the_entropy_over_the_voxels_of_a_label():
    p = torch.tensor([[0.5, 1.0, 1 / 3], [0.5, 0.0, 1 / 3], [0.0, 0.0, 1 / 3]]) * 0.9
    entropy = -torch.xlogy(p, p).sum(0)
    values = labeling._normalized_entropy(entropy, p.sum(0), 3)
    torch.testing.assert_close(values, torch.tensor([np.log(2) / np.log(3), 0.0, 1.0]).float())
    by_label = labeling._mean_by_label(values, torch.tensor([17, 17, 53]))
    assert by_label == pytest.approx({17: np.log(2) / np.log(3) / 2, 53: 1.0})


def test_small_structures_are_less_sure_than_white_matter(found):
    _, _, result = found
    present = set(result.structures.data.unique().tolist()) - {0}
    assert set(result.uncertainty) == present
    assert all(0 <= value <= 1 for value in result.uncertainty.values())
    assert result.uncertainty[18] > result.uncertainty[2]
