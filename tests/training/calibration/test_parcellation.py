"""The cortex of a template divided by the parcels of a volume that lies beside it."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.registration import reference
from brainseg.training.calibration import parcellation

SHAPE = (48, 56, 40)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-70.5, -84.0, -60.0)
DEEP = {10: (8, 28, 20), 11: (10, 36, 24), 12: (13, 30, 18), 17: (14, 22, 14), 18: (14, 32, 12)}
RIGHT = {10: 49, 11: 50, 12: 51, 17: 53, 18: 54}


def brain() -> np.ndarray:
    """A shell of cortex and deep structures on both sides, and the brainstem."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    distance = np.sqrt((((index.T - (23.5, 28, 20)) / (20, 25, 17)) ** 2).sum(-1)).T
    out = np.where((distance < 1) & (distance > 0.8), 3, 0).astype(np.int16)
    out[(out == 3) & (index[0] > 23)] = 42
    for k, (x, y, z) in DEEP.items():
        out[x : x + 3, y : y + 3, z : z + 3] = k
        out[45 - x : 48 - x, y : y + 3, z : z + 3] = RIGHT[k]
    out[22:26, 22:26, 8:13] = 16
    return out


def labels_of(structures: np.ndarray) -> np.ndarray:
    """The brain with the cortex divided in a back and a front parcel."""
    front = np.arange(SHAPE[1])[None, :, None] >= 28
    out = structures.copy()
    for cortex, first in ((3, 1000), (42, 2000)):
        out[(structures == cortex) & ~front], out[(structures == cortex) & front] = first + 11, first + 28
    return out


@pytest.fixture
def template() -> Volume:
    return Volume(torch.from_numpy(brain()), AFFINE)


def test_the_cortex_is_divided_on_its_side(template):
    """The volume lies 4 mm beside the template and covers the front half of its own cortex with holes."""
    moved = AFFINE.copy()
    moved[:3, 3] += (4, -3, 2)
    data = labels_of(brain())
    data[::3][data[::3] >= 1000] = 0
    found = parcellation.divide(Volume(torch.from_numpy(data), moved), template).data.numpy()
    truth = labels_of(brain())
    inside = np.isin(brain(), (3, 42))
    assert np.array_equal(found > 0, inside)
    assert (found[inside] == truth[inside]).mean() > 0.97
    assert (found[inside] // 1000 == truth[inside] // 1000).all()


def test_volumes_with_indices_of_their_own(template, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "load", lambda name: reference.anatomy(template, template, template, {}))
    rows = [(1, "lateraloccipital", "L"), (2, "superiorfrontal", "L"), (3, "lateraloccipital", "R")]
    rows += [(4, "superiorfrontal", "R"), (5, "thalamusproper", "L"), (6, "thalamusproper", "R")]
    rows += [(7, "caudate", "L"), (8, "caudate", "R"), (9, "brainstem", "B"), (10, "hippocampus", "L")]
    rows += [(11, "hippocampus", "R"), (12, "amygdala", "L"), (13, "amygdala", "R")]
    new = {
        1011: 1,
        1028: 2,
        2011: 3,
        2028: 4,
        10: 5,
        49: 6,
        11: 7,
        50: 8,
        16: 9,
        17: 10,
        53: 11,
        18: 12,
        54: 13,
    }
    truth = labels_of(brain())
    data = np.zeros(SHAPE, np.uint8)
    for fs, own in new.items():
        data[truth == fs] = own
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "other.nii.gz")
    with (tmp_path / "other.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label", "hemisphere"), *rows])
    names = [
        f"{b + k}\tctx-{s}h-{n}"
        for b, s in ((1000, "l"), (2000, "r"))
        for k, n in ((11, "lateraloccipital"), (28, "superiorfrontal"))
    ]
    (tmp_path / "Toy.tsv").write_text("\n".join(["index\tname", *names]) + "\n")
    path = parcellation.write(tmp_path / "other.nii.gz", tmp_path / "other.csv", tmp_path, "Toy")
    image = nib.load(path)
    found = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.int16 and np.allclose(image.affine, AFFINE)
    assert set(np.unique(found)) == {0, 1011, 1028, 2011, 2028}
    inside = np.isin(brain(), (3, 42))
    assert (found[inside] == truth[inside]).mean() > 0.97
