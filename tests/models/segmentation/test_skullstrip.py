"""Skull-stripping of the template, with and without a head around it, however it is stored."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume, resample
from brainseg.models.segmentation import skullstrip as stage
from brainseg.training.evaluation.metrics import agreement

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head(scans):
    scan = scans.headed(scans.template())
    return scan, stage.skullstrip(scan)


def dice(a: Volume, b: Volume) -> float:
    """Dice of two masks, the second brought to the first one's grid."""
    moved = resample(b, a.grid, mode="nearest").data.numpy() > 0
    return agreement(a.data.numpy() > 0, moved, surfaces=False).dice


def test_head_is_stripped(head, scans):
    scan, found = head
    assert not found.stripped
    assert found.source == "deepbet", "white matter is brightest"
    assert found.mask.data.dtype == torch.uint8 and found.mask.grid.shape == scan.grid.shape
    np.testing.assert_array_equal(found.mask.affine, scan.affine)
    truth = resample(scans.brain_of(scans.template()), scan.grid, mode="nearest")
    # shells are no head: how good the masks are, the benchmark says
    assert dice(truth, found.mask) > 0.9


def test_mask_does_not_depend_on_how_the_head_is_stored(head, scans):
    scan, found = head
    copy = scans.padded(scans.reoriented(scans.resampled(scan)))
    again = stage.skullstrip(copy)
    assert again.mask.grid.shape == copy.grid.shape and not again.stripped
    assert dice(found.mask, again.mask) >= 0.97


def test_a_slab_of_60_mm_is_stripped_or_told_to_be_too_small(head):
    (scan, found), axis = head, 0
    scan, mask = scan.canonical(), found.mask.canonical()
    middle = round(float((mask.data > 0).nonzero().double().mean(0)[axis]))
    start, shape = [0, 0, 0], list(scan.grid.shape)
    shape[axis] = round(60 / scan.grid.spacing[axis])
    start[axis] = middle - shape[axis] // 2
    part, true = (volume.crop(tuple(start), tuple(shape)) for volume in (scan, mask))
    try:
        again = stage.skullstrip(part)
    except InputError as error:
        assert "field of view" in error.reason and "too small" in error.reason
        return
    assert dice(true, again.mask) > 0.8
    assert any("field of view (60 mm) is too small" in note for note in again.notes)


def test_stripped_scan_is_recognized_and_kept(scans):
    scan = scans.template()
    found = stage.skullstrip(scan)
    assert found.stripped and found.source == "extent"
    assert dice(scans.brain_of(scan), found.mask) > 0.985
    # a background that is not zero is background all the same
    lifted = scan.with_data(scan.data + 40)
    assert dice(found.mask, stage.skullstrip(lifted).mask) > 0.985


def test_modes(head, scans):
    scan, _ = head
    taken = stage.skullstrip(scans.template(), mode="skip")
    assert taken.stripped
    assert dice(scans.brain_of(scans.template()), taken.mask) > 0.985
    with pytest.raises(InputError, match="implausible brain volume"):
        stage.skullstrip(scan, mode="skip")
    forced = stage.skullstrip(scans.template(), mode="force")
    assert not forced.stripped
    assert dice(scans.brain_of(scans.template()), forced.mask) > 0.8


def no_head(kind: str) -> Volume:
    """Noise, smooth noise, or a segmented fruit in its peel."""
    rng = np.random.default_rng(0)
    noise = rng.random((80, 88, 80))
    if kind == "noise":
        data = 900 * noise
    elif kind == "smooth noise":
        data = ndimage.gaussian_filter(noise, 4)
    else:
        x, y, z = np.meshgrid(*[2.5 * (np.arange(n) - (n - 1) / 2) for n in noise.shape], indexing="ij")
        radius = np.sqrt(x**2 + y**2 + z**2) / 45
        data = 100.0 * (radius < 1) * (1 + 0.3 * np.cos(10 * np.arctan2(y, x)))
        data[(radius > 0.85) & (radius < 1)] = 30
        data[(radius >= 1) & (radius < 1.1)] = 150
        data += 5 * noise
    return Volume(torch.from_numpy(data.astype(np.float32)), np.diag([2.5, 2.5, 2.5, 1.0]))


@pytest.mark.parametrize("kind", ["noise", "smooth noise", "fruit"])
def test_a_brain_is_not_found_where_there_is_none(kind):
    with pytest.raises(InputError, match="no brain found in the image"):
        stage.skullstrip(no_head(kind))


def test_what_is_no_head_is_refused():
    speck = torch.zeros(60, 60, 60)
    speck[28:32, 28:32, 28:32] = 1
    with pytest.raises(InputError, match="brain"):
        stage.skullstrip(Volume(speck, np.diag([2.0, 2.0, 2.0, 1.0])))
