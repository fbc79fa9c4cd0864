"""Labels of real scans are checked before anything is computed."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.population import labels
from brainseg.training.evaluation.mapping import read_mapping
from brainseg.training.heads import scan_preparation
from brainseg.training.heads.scan_preparation import prepare_scans

ASEG = (7, 8, 2, 3, 42, 41, 47, 46)
"""Labels from left to right."""


def _case(folder, labels, shift=0.0):
    """A scan and slabs of labels."""
    values = np.zeros((24, 12, 12), np.int16)
    for k, label in enumerate(labels):
        values[4 + 2 * k : 6 + 2 * k, 2:10, 2:10] = label
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    folder.mkdir(exist_ok=True)
    scan, truth = folder / "sub-01_T1w.nii.gz", folder / "sub-01_dseg.nii.gz"
    nib.save(nib.Nifti1Image((values > 0).astype(np.float32) * 100 + 1, affine), scan)
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(values, affine), truth)
    return [("sub-01", scan, truth)]


def _prepare(pairs, out, **more):
    prepare_scans(pairs, out, coarse="head-coarse", spacing=1.5, stride=16, **more)


def test_tissues_are_not_taken_for_structures(tmp_path):
    with pytest.raises(
        InputError, match=r"labels 1 are not in the label table adult; they seem to be tissues"
    ):
        _prepare(_case(tmp_path / "a", (1, 2, 3, 1, 2, 3)), tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.slow
def test_cortex_by_area_is_not_taken_for_background(tmp_path):
    pairs = _case(tmp_path / "a", (7, 8, 2, 1024, 2024, 41, 47, 46))
    with pytest.raises(InputError, match=r"1024, 2024 are not.*--mapping \(freesurfer"):
        _prepare(pairs, tmp_path / "out.npz")
    with pytest.raises(
        InputError, match=r"sub-01_T1w\.nii\.gz: no brain found"
    ):  # the labels are right; the scan has no brain
        _prepare(pairs, tmp_path / "out.npz", mapping=read_mapping("freesurfer"))


def test_labels_beside_the_scan_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"only \d+ % of the labels lie on the scan sub-01_T1w"):
        _prepare(_case(tmp_path / "a", ASEG, shift=150.0), tmp_path / "out.npz")


def test_tissues_come_from_the_intensities_of_the_scan(monkeypatch):
    """Where the prior of the network is wrong, the intensities decide."""
    rng = np.random.default_rng(0)
    x = np.indices((24, 24, 24))[0]
    level = np.where(x < 8, 20.0, np.where(x < 16, 60.0, 100.0))  # fluid, gray, white
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    scan = Volume(torch.from_numpy(level + rng.normal(0, 2, level.shape)).float(), affine)
    mask = scan.with_data(torch.ones(level.shape, dtype=torch.uint8))
    table = labels.load("adult")
    prior = torch.full((len(table.unsided), *level.shape), 0.001)
    for structure, where in ((24, x < 9), (3, (x >= 9) & (x < 17)), (2, x >= 17)):  # shifted by a voxel
        prior[table.unsided.index(structure)] += torch.from_numpy(np.where(where, 0.7, 0.15))
    monkeypatch.setattr(scan_preparation.bias, "correct", lambda volume, mask: (volume, None))
    located = SimpleNamespace(structures=scan.with_data(prior / prior.sum(0)))
    found = scan_preparation.tissues(scan, mask, located, scan.grid).numpy()
    truth = np.where(x < 8, 4, np.where(x < 16, 1, 2))
    assert (found == truth).mean() > 0.97
    assert (found[8] == 1).mean() > 0.9 and (found[16] == 2).mean() > 0.9
