"""Scans whose values have an offset, or whose background is not dark, become like those of scanners."""

import doctest

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.preprocessing import scan

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


def _head(noise: float = 4.0) -> np.ndarray:
    """A ball of 1000 with a bright core, and noise around it."""
    line = np.arange(48) - 23.5
    away = np.sqrt(line[:, None, None] ** 2 + line[None, :, None] ** 2 + line**2)
    random = np.random.default_rng(3)
    data = np.abs(random.normal(0, noise, away.shape)) + 1000.0 * (away < 18) + 600.0 * (away < 8)
    return data.astype(np.float32)


def _read(tmp_path, data):
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(data.astype(np.float32), GRID), path)
    notes = []
    return scan.read(path, notes=notes).data.numpy(), notes


def test_examples_in_the_documentation():
    assert doctest.testmod(scan).failed == 0


def test_a_scan_of_a_scanner_stays_as_it_is(tmp_path):
    data = _head()
    for same in (data, data + 30, data - 8):  # noise does not begin at 0, and ringing is below it
        found, notes = _read(tmp_path, same)
        assert notes == [] and (found == same).all()


@pytest.mark.parametrize("offset", [-1000.0, -300.0, 800.0])
def test_an_offset_of_all_values_is_removed_and_told(tmp_path, offset):
    data = _head()
    found, notes = _read(tmp_path, data + offset)
    assert np.abs(found - data).max() < 5
    assert len(notes) == 1 and notes[0].startswith("The darkest values are about")
    assert ("added" in notes[0]) == (offset < 0)


def test_a_brain_around_zero_keeps_its_contrast_and_gets_a_dark_background(tmp_path):
    inside = _head() > 500
    z = np.where(inside, (_head() - 1100) / 200, 0).astype(np.float32)
    z[inside] += np.random.default_rng(1).normal(0, 0.3, int(inside.sum()))
    found, notes = _read(tmp_path, z)
    assert (found[~inside] == 0).all() and "the background (0) was set to 0" in notes[0]
    steps = (found - z)[inside & (z > -1)]
    assert steps.std() < 1e-5 and steps.mean() > 0.5


def test_a_field_of_view_without_background_stays_as_it_is():
    data = 2400 - torch.from_numpy(_head()[16:32, 16:32, 16:32])  # as a slab of a brain, fluid in the middle
    notes = []
    assert scan.without_offset(Volume(data, GRID), notes).data is data and not notes
