"""Color tables in FreeSurfer's format: of the dataset, of own networks and of parcels."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from brainseg.interfaces import base, parcellation
from brainseg.interfaces.io import color_tables, dataset
from brainseg.interfaces.io.derivatives import Names
from brainseg.models.population import labels


def read(path: Path) -> dict[int, tuple[str, ...]]:
    """Read a color table as FreeSurfer does: lines of index, name and four numbers, without comments."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(len(row) == 6 and all(0 <= int(cell) <= 255 for cell in row[2:]) for row in rows)
    return {int(row[0]): tuple(row[1:]) for row in rows}


def test_every_label_table_has_a_color_table(tmp_path):
    written = dataset.write_dataset_description(tmp_path / "out", tmp_path / "bids", "1")
    tables = sorted(path for path in written if path.suffix == ".tsv")
    assert tables
    for path in tables:
        colors = path.with_name(f"{path.stem}.lut.txt")
        assert colors in written
        indices = {int(line.split("\t")[0]) for line in path.read_text().splitlines()[1:]}
        assert set(read(colors)) == indices | {0}
    structures = read(tmp_path / "out" / "desc-aseg_dseg.lut.txt")
    assert structures[17] == ("Left-Hippocampus", "220", "216", "20", "0")
    assert read(tmp_path / "out" / "dseg.lut.txt")[3][0] == "Cerebrospinal-Fluid"
    assert "*.lut.txt" in (tmp_path / "out" / ".bidsignore").read_text().splitlines()


def test_a_network_of_the_user_has_one(tmp_path):
    dataset.write_label_table(tmp_path, "mine", labels.of_card({"labels": [{"index": 4, "name": "My part"}]}))
    assert read(tmp_path / "desc-mine_dseg.lut.txt")[4][0] == "My-part"


def test_parcels_have_one(tmp_path):
    raw = tmp_path / "raw" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    names = Names(tmp_path / "out", tmp_path / "raw", raw, "sub-1")
    parcels = [[2, "Two", "n/a"], [1, "One", "#ff0010"]]
    rows = [[1, "One", "8"]]
    content = {"label": "Toy", "parcels": parcels, "columns": ["volume_mm3"], "rows": rows, "whole": False}
    table, image = tmp_path / "Toy.json", tmp_path / "Toy.nii"
    table.write_text(json.dumps(content))
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.int32), np.eye(4)), image)
    structures = base.load(image)
    jobs = parcellation.jobs(names, [str(image)], [str(table)], structures, np.eye(4), 1)
    files = [write() for write in jobs]
    (path,) = (file for file in files if file.name == "sub-1_seg-Toy_desc-parcels_dseg.lut.txt")
    found = read(path)
    assert list(found) == [0, 1, 2]
    assert found[1] == ("One", "255", "0", "16", "0")
    assert found[2] == ("Two", "128", "128", "128", "0"), "gray without a color"


def test_names_without_content_keep_the_columns():
    assert color_tables.lines([(5, " ", "#000000")])[-1].split() == ["5", "-", "0", "0", "0", "0"]
