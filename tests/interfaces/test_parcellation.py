"""The node of parcels: maps on another grid, what the sidecars say, and notes."""

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.interfaces import parcellation
from brainseg.interfaces.io.derivatives import Names
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid


def _map(path: Path, data: np.ndarray, affine: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return str(path)


def test_maps_are_read_on_the_grid(tmp_path):
    grid = Grid((6, 6, 6), np.diag([2.0, 2.0, 2.0, 1.0]))
    data = np.full((6, 6, 6), 7.0)
    data[0, 0, 0] = np.nan
    same = _map(tmp_path / "same.nii", data, grid.affine)
    shifted = grid.affine.copy()
    shifted[0, 3] = 4.0
    other = _map(tmp_path / "other.nii", np.full((6, 6, 6), 3.0), shifted)
    found, notes = parcellation.read_maps({"A": same, "B": other}, grid)
    assert math.isnan(found["A"].data[0, 0, 0]) and float(found["A"].data[1, 0, 0]) == 7
    assert found["B"].data[:2].isnan().all() and (found["B"].data[2:] == 3).all()
    assert notes == ["The map B (other.nii) was resampled linearly on the grid of the image."]
    series = _map(tmp_path / "series.nii", np.zeros((4, 4, 4, 2)), np.eye(4))
    with pytest.raises(InputError, match="one volume"):
        parcellation.read_maps({"C": series}, grid)


def test_sidecars_name_atlas_transform_and_columns(tmp_path):
    raw = tmp_path / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    names = Names(tmp_path / "out", tmp_path / "raw", raw, "sub-1")
    table = tmp_path / "Toy.json"
    content = {
        "label": "Toy",
        "space": "MNI152NLin2009cAsym",
        "file": "",
        "about": {"license": "MIT", "license_text": "long"},
        "columns": ["volume_mm3", "T2w_mean"],
        "parcels": [[1, "One", "#ff0000"]],
        "rows": [[1, "One", "8", "3.5"]],
        "filled": 3,
        "left": 2,
    }
    table.write_text(json.dumps(content))
    found = parcellation.sidecars(names, [str(table)], {"Manual": False}, {"T2w": "/x/sub-1_T2w.nii.gz"})
    image = found["seg-Toy_desc-parcels_dseg.nii.gz"]
    assert image["Atlas"] == {"Name": "Toy", "Space": "MNI152NLin2009cAsym", "license": "MIT"}
    assert image["Sources"][1].endswith("sub-1_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5")
    assert (image["FilledVoxels"], image["VoxelsWithoutParcel"]) == (3, 2)
    columns = found["seg-Toy_morph.tsv"]
    assert columns["T2w_mean"]["Description"] == "Mean of the map T2w (sub-1_T2w.nii.gz) in the parcel"
    assert columns["volume_mm3"]["Units"] == "mm^3"
