"""A mask that loses cortex is seen by what lies around it, in any contrast."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.quality import rating, surroundings
from brainseg.models.quality.surroundings import brain_outside

CONTRASTS = {"T1w": (900, 600, 200, 50), "T2w": (400, 550, 1000, 80), "FLAIR": (450, 560, 120, 40)}


def head(levels):
    """Return image and labels: white matter with a ventricle, cortex, fluid, and dark bone around."""
    axes = np.meshgrid(*[np.arange(64) - 31.5] * 3, indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    found = np.zeros((64, 64, 64), np.int16)
    for index, low, high in ((4, 0, 6), (2, 6, 18), (3, 18, 23), (24, 23, 26)):
        found[(radius >= low) & (radius < high)] = index
    image = np.full(found.shape, levels[3], np.float32)
    for index, level in ((2, levels[0]), (3, levels[1]), (4, levels[2]), (24, levels[2])):
        image[found == index] = level
    image += np.random.default_rng(0).normal(0, 15, image.shape)
    return [Volume(torch.from_numpy(v), np.eye(4)) for v in (image.astype(np.float32), found)]


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_share_of_brain_around_a_mask(contrast):
    image, found = head(CONTRASTS[contrast])
    whole = found.with_data((found.data > 0).to(torch.uint8))
    assert brain_outside(image, whole, found) < 0.1
    # half of the cortex is lost
    shallow = found.with_data((torch.from_numpy(_radius()) < 20.5).to(torch.uint8))
    assert brain_outside(image, shallow, found) > 0.9


def _radius():
    axes = np.meshgrid(*[np.arange(64) - 31.5] * 3, indexing="ij")
    return np.sqrt(sum(a**2 for a in axes))


def test_rating_says_that_the_mask_may_cut_through_cortex():
    _, found = head(CONTRASTS["T1w"])
    mask = found.with_data((found.data > 0).to(torch.uint8))
    rated = rating.rate([], mask, found, norms=None, outside=0.4)
    (check,) = [one for one in rated.checks if one.name == "outside"]
    assert rated.rating == check.verdict == "check" and "cut through the cortex" in check.words
    assert rating.rate([], mask, found, norms=None, outside=0.1).rating == "pass"
    assert all(one.name != "outside" for one in rating.rate([], mask, found, norms=None).checks)


def test_nothing_is_said_without_tissue_to_compare_with():
    image, found = head(CONTRASTS["T1w"])
    mask = found.with_data((found.data > 0).to(torch.uint8))
    assert brain_outside(image, mask, found.with_data(found.data * 0)) is None


def test_the_shell_is_the_same_by_distances_and_by_widening():
    inside = _radius() < 20
    usual = surroundings._shell(inside, np.ones(3))
    # Voxels that are not quite cubes take a distance transform.
    assert (usual == surroundings._shell(inside, np.array([1.0, 1.0, 1.002]))).all()
    assert not (usual & inside).any() and usual.sum() > inside.sum() ** (2 / 3)
