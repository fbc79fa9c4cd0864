"""Several segmentations against one reference: names, mappings, one table, one plot."""

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.models.errors import UsageError
from brainseg.training.evaluation import comparison, mapping, segmentation

IDS = (2, 3, 10, 24, 41, 42, 49)


def _labels(cortex=3, shift=0):
    data = np.zeros((30, 12, 12), np.int32)
    for k, index in enumerate(IDS):
        data[4 * k : 4 * k + 4, 2 + shift : 10 + shift, 2:10] = index
    data[data == 3] = cortex
    return data


def _save(folder, data, name="sub-01_dseg.nii.gz"):
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4)), folder / name)


@pytest.fixture
def folders(tmp_path):
    _save(tmp_path / "ref", _labels())
    _save(tmp_path / "ours", _labels())
    _save(tmp_path / "synthseg", _labels(1024, 1), "sub-01_T1w_synthseg.nii.gz")
    fast = tmp_path / "fast" / "sub-01" / "mri"
    fast.mkdir(parents=True)
    labels = _labels(1028)
    image = nib.MGHImage(np.where(labels == 24, 0, labels).astype(np.int32), np.eye(4))
    nib.save(image, fast / "aparc.DKTatlas+aseg.deep.mgz")
    nib.save(nib.MGHImage(0 * _labels(), np.eye(4)), fast / "aseg.mgz")
    return tmp_path


def test_programs_are_compared_in_one_table_and_one_plot(folders, capsys):
    out, plot = folders / "scores.tsv", folders / "scores.png"
    words = ["evaluate", folders / "ref", folders / "ours", folders / "synthseg", folders / "fast"]
    for one in ("none", "synthseg", "fastsurfer"):
        words += ["--mapping-pred", one]
    assert main.main([*map(str, words), "--out", str(out), "--plot", str(plot), "--no-surfaces"]) == 0
    said = capsys.readouterr().out
    assert "note: fast: not scored, for its labels have no CSF" in said
    assert "mean of 6 in all" in said
    assert plot.stat().st_size > 5000
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert rows[0][:2] == ["method", "case"]
    dice = {(row[0], row[2]): float(row[4]) for row in rows[1:]}
    assert dice["ours", "3"] == dice["fast", "3"] == 1
    assert dice["synthseg", "3"] == pytest.approx(7 / 8) and ("fast", "24") not in dice


def test_what_does_not_fit_is_refused(folders):
    paths = [folders / "ours", folders / "synthseg"]
    with pytest.raises(UsageError, match="3 --mapping-pred for 2 PRED"):
        comparison.mappings_of(paths, ["none"] * 3)
    assert comparison.mappings_of(paths, ["freesurfer"]) == ["freesurfer"] * 2
    with pytest.raises(UsageError, match="1 --names for 2 PRED"):
        comparison.names_of(paths, ["a"])
    with pytest.raises(UsageError, match="given twice"):
        comparison.names_of([paths[0], paths[0]])
    frame = comparison.compare_paths(
        folders / "ref", paths, mappings_pred=["none", "synthseg"], surfaces=False
    )
    assert set(frame.method) == {"ours", "synthseg"}
    assert segmentation.summarize(frame[frame.method == "ours"]).dice.min() == 1


def test_mappings_of_programs_have_their_labels():
    fast, synth = mapping.read_mapping("fastsurfer"), mapping.read_mapping("synthseg")
    assert fast.structure[1035] == synth.structure[1035] == 3 and fast.structure[2003] == 42
    assert fast.structure[24] == mapping.IGNORED and synth.structure[24] == 24
    assert 1001 not in fast.structure and 31 not in synth.structure and len(fast.structures) == 31
