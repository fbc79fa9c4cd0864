"""``brainseg stats``: files that are read as those of FreeSurfer, and what is left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.interfaces.io import dataset
from brainseg.models.population import labels

HEAD = "index\tname\themisphere\tvolume_mm3\tlabel_volume_mm3\tfraction_of_brain\n"
BRAIN = 30000.0


def add(out: Path, key: str, volumes: dict[int, float], table: str = "adult", image: bool = True) -> None:
    """Write table and labels of a participant-session, with voxels of 2 mm3."""
    name, _, session = key.partition("_")
    anat = out / name / session / "anat"
    anat.mkdir(parents=True)
    rows = [
        f"{k}\t{labels.load(table)[k].name}\tn/a\t{volume}\t{volume + 1:.2f}\t{volume / BRAIN:.6f}\n"
        for k, volume in volumes.items()
    ]
    (anat / f"{key}_desc-aseg_volumes.tsv").write_text(HEAD + "".join(rows))
    if image:
        data = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
        nib.save(data, anat / f"{key}_desc-aseg_dseg.nii.gz")


def read(path: Path) -> tuple[dict[str, float], dict[str, tuple[int, int, float]]]:
    """Read measures by key and rows by name, as ``asegstats2table`` does: by comma and by spaces."""
    measures, rows = {}, {}
    for line in path.read_text().splitlines():
        if line.startswith("# Measure"):
            cells = line.split(",")
            assert len(cells) == 5 and cells[4] == " mm^3"
            measures[cells[1].strip()] = float(cells[3])
        elif not line.startswith("#"):
            number, index, count, volume, name = line.split()
            assert int(number) == len(rows) + 1
            rows[name] = (int(index), int(count), float(volume))
    return measures, rows


@pytest.fixture
def out(tmp_path):
    values = (label.index for label in labels.load("adult") if label.index)
    add(tmp_path / "out", "sub-1", {index: 100.0 + index for index in values})
    add(tmp_path / "out", "sub-2_ses-b", {17: 4000.5, 53: 3900.25, 4: 9000, 24: 500, 16: 7000})
    return tmp_path / "out"


def test_files_are_read_as_those_of_freesurfer(out, capsys):
    assert main.main(["stats", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 files aseg.stats" in said and "asegstats2table --subjects $(ls " in said
    measures, rows = read(out / "fs-stats" / "sub-1" / "stats" / "aseg.stats")
    assert rows["Left-Hippocampus"] == (17, 59, 117.0)  # 118 mm3 of labels in voxels of 2 mm3
    assert not {"Left-Cerebral-Cortex", "Right-Cerebral-White-Matter"} & set(rows), "they are measures"
    known = {label.index: 100.0 + label.index for label in labels.load("adult") if label.index}
    assert measures["lhCortexVol"] == known[3] and measures["rhCortexVol"] == known[42]
    assert measures["CerebralWhiteMatterVol"] == known[2] + known[41]
    assert measures["BrainSegVol"] == sum(known.values()) - known[16] - known[24]
    ventricles = sum(known[k] for k in (4, 5, 14, 15, 43, 44))
    assert measures["BrainSegVolNotVent"] == measures["BrainSegVol"] - ventricles
    totals = labels.add_up(known, labels.load("adult"))
    assert measures["TotalGrayVol"] == totals["total_gm"]
    assert measures["SubCortGrayVol"] == totals["subcortical_gm"]
    assert measures["MaskVol"] == pytest.approx(BRAIN, rel=1e-3)
    text = (out / "fs-stats" / "sub-1" / "stats" / "aseg.stats").read_text()
    assert f"# NRows {len(rows)}\n" in text
    assert "# ColHeaders  Index SegId NVoxels Volume_mm3 StructName\n" in text


def test_only_what_is_there_becomes_a_measure(out, tmp_path):
    assert main.main(["stats", str(out), "--to", str(tmp_path / "fs"), "--participant-label", "2"]) == 0
    assert [path.name for path in (tmp_path / "fs").iterdir()] == ["sub-2_ses-b"]
    measures, rows = read(tmp_path / "fs" / "sub-2_ses-b" / "stats" / "aseg.stats")
    assert rows["Left-Hippocampus"][2] == 4000.5 and "Brain-Stem" in rows
    assert "CortexVol" not in measures and "eTIV" not in measures
    assert measures["BrainSegVol"] == 4000.5 + 3900.25 + 9000


def test_fetal_structures(tmp_path):
    values = {label.index: 50.0 for label in labels.load("fetal") if label.index}
    add(tmp_path, "sub-1", values, "fetal")
    assert main.main(["stats", str(tmp_path)]) == 0
    measures, rows = read(tmp_path / "fs-stats" / "sub-1" / "stats" / "aseg.stats")
    assert measures["TotalGrayVol"] == 50 * 6, "cortex, deep gray matter and cerebellum of both sides"
    assert rows["Left-Cerebellum"][0] == 6


def test_what_is_left_out_is_said(out, capsys):
    add(out, "sub-3", {17: 1.0}, image=False)
    add(out, "sub-4", {})
    assert main.main(["stats", str(out), "--participant-label", "1", "3", "4", "9"]) == 1
    said = capsys.readouterr().err
    assert "sub-3: its labels (desc-aseg_dseg.nii.gz) are missing" in said
    assert "sub-4: its volumes are missing" in said
    assert "sub-9: it is not in" in said
    assert [path.name for path in (out / "fs-stats").iterdir()] == ["sub-1"]


def test_files_of_freesurfer_itself_stay(out, tmp_path, capsys):
    theirs = tmp_path / "fs" / "sub-1" / "stats" / "aseg.stats"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("# generating_program mri_segstats\n")
    for _ in range(2):  # those of this program are written again
        assert main.main(["stats", str(out), "--to", str(tmp_path / "fs")]) == 1
        assert "of another program; left as it is" in capsys.readouterr().err
    assert theirs.read_text() == "# generating_program mri_segstats\n"
    assert (tmp_path / "fs" / "sub-2_ses-b" / "stats" / "aseg.stats").is_file()


def test_folders_without_volumes_are_refused(tmp_path, capsys):
    assert main.main(["stats", str(tmp_path / "nowhere")]) == 65
    assert "the folder does not exist" in capsys.readouterr().err
    assert main.main(["stats", str(tmp_path)]) == 65
    assert "no volumes" in capsys.readouterr().err
    add(tmp_path, "sub-1", {17: 5.0})
    (tmp_path / "fs").write_text("a file")
    assert main.main(["stats", str(tmp_path), "--to", str(tmp_path / "fs")]) == 1
    assert "could not be written" in capsys.readouterr().err


def test_the_dataset_stays_valid(out):
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    dataset.write_dataset_description(out, out.parent / "bids", "1")
    assert main.main(["stats", str(out)]) == 0
    (out / "ratings").mkdir()
    (out / "ratings" / "anna.tsv").write_text("participant_id\n")
    done = subprocess.run([program, str(out)], capture_output=True, text=True, check=False)
    assert "/fs-stats" not in done.stdout and "/ratings" not in done.stdout and ".lut.txt" not in done.stdout
    assert done.returncode == 0, done.stdout
