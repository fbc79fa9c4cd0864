"""Label images are recognized by their values, and labels of another kind are refused."""

import doctest

import numpy as np
import pytest

from brainseg.models.errors import InputError
from brainseg.models.population import label_sets

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


def test_examples():
    assert doctest.testmod(label_sets).failed == 0


def _brain(white=(2, 41), cortex=(3, 42)):
    """Half a box of either side, left on the left."""
    out = np.zeros((16, 12, 12), np.int32)
    for side, (w, c) in enumerate(zip(white, cortex, strict=True)):
        half = slice(2 + 6 * side, 8 + 6 * side)
        out[half, 2:10, 2:10] = c
        out[half, 4:8, 4:8] = w
    out[2:8, 2:4, 2:6], out[8:14, 2:4, 2:6] = 8, 47
    out[3:7, 2:3, 3:5], out[9:13, 2:3, 3:5] = 7, 46
    return out


def test_structures_of_a_whole_brain_are_accepted():
    label_sets.check_whole_brain(_brain(), AFFINE, "a.nii", "adult")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            np.where(_brain() > 0, 1 + _brain() % 3, 0),
            r"labels 1 are not in the label table adult; .*tissues",
        ),
        (np.where(_brain() == 3, 1003, _brain()), "labels 1003 are not"),
        (np.where(_brain() > 0, 2 + _brain() % 2, 0), "not a whole brain"),
        (np.where(np.isin(_brain(), (3, 8)), _brain(), 0), "not a whole brain"),
        (_brain()[::-1], "left structures lie on the right"),
        (np.zeros((4, 4, 4), int), "not a whole brain"),
    ],
)
def test_labels_that_are_not_those_of_the_table_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        label_sets.check_whole_brain(values, AFFINE, "a.nii", "adult")


def test_very_unequal_sides_are_another_protocol():
    brain = _brain()
    brain[8:14][brain[8:14] == 42] = 41
    brain[13, 5, 5] = 42
    with pytest.raises(InputError, match=r"Left-Cerebral-\S+ has \d+ voxels and Right"):
        label_sets.check_whole_brain(brain, AFFINE, "a.nii", "adult")


def test_images_are_no_label_images():
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 200, (20, 20, 20))
    for values, words in (
        (rng.random((8, 8, 8)), "not whole numbers"),
        (noise, "distinct values"),
        (np.arange(8000).reshape(20, 20, 20), "8000 distinct"),
        (-noise, "negative"),
        (np.full((4, 4, 4), np.nan), "not whole numbers"),
    ):
        with pytest.raises(InputError, match=words):
            label_sets.check_labels(values, "a.nii")


def test_fine_parcellations_are_label_images():
    blocks = np.arange(512).reshape(8, 8, 8)
    label_sets.check_labels(np.kron(blocks, np.ones((3, 3, 3), int)), "a.nii")
