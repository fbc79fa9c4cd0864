"""The node of parcels: maps on another grid, what the sidecars say, and notes."""

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.interfaces import base, parcellation
from brainseg.interfaces.io.derivatives import Names
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.parcellation.atlas import Atlas
from brainseg.models.parcellation.carry import Carried
from brainseg.models.parcellation.names import AtlasName
from brainseg.models.parcellation.tables import Parcel


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
        "about": {"license": "MIT", "license_text": "long", "whole": True},
        "columns": ["volume_mm3", "T2w_mean"],
        "parcels": [[1, "One", "#ff0000"]],
        "rows": [[1, "One", "8", "3.5"]],
        "filled": 3,
        "left": 2,
        "whole": False,
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


@pytest.mark.parametrize(("flavor", "starts"), [("fmriprep", [""]), ("both", ["", "space-T1w_"])])
def test_parcels_of_the_whole_cortex_are_written_with_the_other_structures(tmp_path, flavor, starts):
    raw = tmp_path / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    names = Names(tmp_path / "out", tmp_path / "raw", raw, "sub-1", flavor=flavor)
    names.folder.mkdir(parents=True)
    structures = np.array([[[2, 3, 3, 42, 17, 0]]], np.int16)
    parcels = np.array([[[0, 1035, 1001, 2024, 0, 0]]], np.int32)
    images = [tmp_path / "labels.nii", tmp_path / "structures.nii"]
    for path, data in zip(images, (parcels, structures), strict=True):
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    content = {"label": "DesikanKilliany", "space": "MNI152NLin2009cAsym", "file": "", "whole": True}
    content |= {"about": {}, "columns": ["volume_mm3"], "parcels": [], "rows": [], "filled": 1, "left": 0}
    table = tmp_path / "table.json"
    table.write_text(json.dumps(content))
    found = [str(images[0])], [str(table)]
    written = [job() for job in parcellation.jobs(names, *found, base.load(images[1]), np.eye(4), 1)]
    for start in starts:
        path = names.folder / f"sub-1_{start}desc-aparcaseg_dseg.nii.gz"
        assert path in written
        image = nib.load(path)
        assert np.asarray(image.dataobj).ravel().tolist() == [2, 1035, 1001, 2024, 17, 0]
        assert image.get_data_dtype() == np.int16
    about = parcellation.sidecars(names, found[1], {"Manual": False}, {})["desc-aparcaseg_dseg.nii.gz"]
    ends = ("sub-1_desc-aseg_dseg.nii.gz", "sub-1_seg-DesikanKilliany_desc-parcels_dseg.nii.gz")
    assert [source.endswith(end) for source, end in zip(about["Sources"], ends, strict=True)] == [True, True]


@pytest.mark.parametrize(("far", "notes"), [(1, 0), (30, 1)])
def test_far_parcels_of_the_whole_cortex_are_told(far, notes):
    """That the nearest parcel fills the cortex is no news; that it is far away is."""
    data = torch.full((10, 10, 10), 1001, dtype=torch.int32)
    image = Volume(data, np.eye(4))
    atlas = Atlas(AtlasName("Whole", "Space"), image, (Parcel(1001, "one", "#ff0000"),), {}, (), True)
    found = parcellation.said(atlas, Carried(image, 300, 0, (), far))
    assert len(found) == notes
    assert not notes or "3 % of the cortex are more than 4 mm" in found[0]


@pytest.mark.parametrize(("filled", "notes"), [(0, 0), (40, 1)])
def test_a_few_regions_that_fill_no_structure_are_no_news(filled, notes):
    image = Volume(torch.full((10, 10, 10), 1, dtype=torch.int32), np.eye(4))
    atlas = Atlas(AtlasName("Lab", "Space"), image, (Parcel(1, "one", "#ff0000"),), {}, ())
    found = parcellation.said(atlas, Carried(image, filled, 538_804, ()))
    assert len(found) == notes
    assert not notes or "40 voxels of gray matter (4 % of the parcels)" in found[0]
