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
from brainseg.bidsapp.status import records
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


def test_intracranial_volume(tmp_path):
    add(tmp_path, "sub-1", {17: 4000.0, 53: 3900.0})
    add(tmp_path, "sub-2", {17: 4000.0, 53: 3900.0})
    table, other = (tmp_path / f"sub-{n}" / "anat" / f"sub-{n}_desc-aseg_volumes.tsv" for n in (1, 2))
    head, *rows = table.read_text().splitlines()
    rows = [f"{head}\tintracranial_mm3", *(f"{row}\t1512345.67" for row in rows)]
    table.write_text("\n".join(rows) + "\n")
    other.with_suffix(".json").write_text('{"IntracranialVolume": {"Value": null, "Reason": "no skull"}}')
    assert main.main(["stats", str(tmp_path)]) == 0
    path = tmp_path / "fs-stats" / "sub-1" / "stats" / "aseg.stats"
    assert read(path)[0]["eTIV"] == 1512345.67
    assert "# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial" in path.read_text()
    assert "eTIV is measured in the image" in path.read_text()
    path = tmp_path / "fs-stats" / "sub-2" / "stats" / "aseg.stats"
    assert "eTIV" not in read(path)[0] and "no intracranial volume (eTIV): no skull." in path.read_text()


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
    records.write(out, "sub-4", {"state": "failed"})
    assert main.main(["stats", str(out), "--participant-label", "1", "3", "4", "9"]) == 1
    said = capsys.readouterr().err
    assert "sub-3: its labels (desc-aseg_dseg.nii.gz) are missing" in said
    assert "sub-4: its volumes are missing (it failed)" in said
    assert "sub-9: it is not in" in said
    assert [path.name for path in (out / "fs-stats").iterdir()] == ["sub-1"]


def test_a_raw_dataset_is_told(tmp_path, capsys):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-1\n")
    assert main.main(["stats", str(tmp_path)]) == 65
    said = capsys.readouterr().err
    assert said.strip() == (
        f"brainseg stats: {tmp_path}: it is a raw dataset. Give the derivatives of brainseg-bids."
    )
    (tmp_path / "dataset_description.json").unlink()
    assert main.main(["stats", str(tmp_path)]) == 65
    assert "sub-1: its volumes are missing (it was not processed)" in capsys.readouterr().err


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


PARCELS = {"ctx-lh-insula": 7000.4, "ctx-lh-cuneus": 2500.6, "ctx-rh-insula": 7100.0}


def divide(out: Path, key: str) -> None:
    """Add the table of parcels of a participant-session."""
    name, _, session = key.partition("_")
    rows = [f"{1000 + k}\t{word}\t{volume}\t1\n" for k, (word, volume) in enumerate(PARCELS.items())]
    head = "index\tname\tvolume_mm3\tgm_volume_mm3\n"
    path = out / name / session / "anat" / f"{key}_seg-DesikanKilliany_morph.tsv"
    path.write_text(head + "".join(rows))


def aparcstats2table(path: Path, place: int) -> dict[str, float]:
    """Read one column by its place, as FreeSurfer's script does: volume is 3, area 2, thickness 4."""
    rows = [line.split() for line in path.read_text().splitlines() if "#" not in line]
    return {row[0]: float(row[place]) for row in rows}


def test_parcels_are_read_as_those_of_freesurfer(out, capsys):
    divide(out, "sub-1")
    assert main.main(["stats", str(out)]) == 0
    assert "1 of them have lh.aparc.stats and rh.aparc.stats" in capsys.readouterr().out
    stats = out / "fs-stats" / "sub-1" / "stats"
    assert aparcstats2table(stats / "lh.aparc.stats", 3) == {"insula": 7000, "cuneus": 2501}
    assert aparcstats2table(stats / "rh.aparc.stats", 3) == {"insula": 7100}
    text = (stats / "lh.aparc.stats").read_text()
    assert "# ColHeaders StructName NumVert SurfArea GrayVol\n" in text and "# hemi lh\n" in text
    assert "ThickAvg" in text.split("# ColHeaders")[0], "the header says what is missing"
    measures, _ = read(stats / "aseg.stats")
    assert f"Without Ventricles, {measures['BrainSegVolNotVent']:.6f}, mm^3\n" in text
    assert not (out / "fs-stats" / "sub-2_ses-b" / "stats" / "lh.aparc.stats").exists()


def test_what_is_not_measured_is_no_number(out):
    """Readers of area or thickness fail instead of reading zeros."""
    divide(out, "sub-1")
    assert main.main(["stats", str(out)]) == 0
    path = out / "fs-stats" / "sub-1" / "stats" / "lh.aparc.stats"
    for place, error in ((1, ValueError), (2, ValueError), (4, IndexError)):
        with pytest.raises(error):
            aparcstats2table(path, place)


@pytest.fixture
def whole(tmp_path):
    """A participant with all images: an oblique LPS grid, structures on both sides, parcels."""
    out, key = tmp_path / "whole", "sub-1"
    add(out, key, dict.fromkeys((2, 3, 41, 42), 100.0))
    divide(out, key)
    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    affine[:3, :3] = affine[:3, :3] @ np.array([[0.98, -0.17, 0], [0.17, 0.98, 0], [0, 0, 1]])
    affine[:3, 3] = (60, 70, -50)
    data = np.zeros((80, 90, 50), np.int16)
    data[20:60, 20:70, 10:40] = 3
    data[25:55, 25:65, 15:35] = 2
    x = (np.indices(data.shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3])[:, 0].reshape(data.shape)
    data[(data > 0) & (x > 0)] += 39
    divided = np.where(data == 3, 1035, np.where(data == 42, 2035, data))
    intensities = np.select([np.isin(data, (2, 41)), data > 0], [1000, 600], 50)
    anat = out / key / "anat"
    for ending, values in {
        "desc-preproc_T1w": intensities.astype(np.float32),
        "desc-brain_mask": (data > 0).astype(np.uint8),
        "desc-aseg_dseg": data,
        "desc-aparcaseg_dseg": divided.astype(np.int16),
    }.items():
        nib.save(nib.Nifti1Image(values, affine), anat / f"{key}_{ending}.nii.gz")
    return out, nib.Nifti1Image(divided.astype(np.int16), affine)


@pytest.mark.slow
def test_images_lie_as_the_results_do(whole, tmp_path, capsys):
    out, truth = whole
    target = tmp_path / "subjects"
    assert main.main(["stats", str(out), "--fs-dir", str(target)]) == 0
    said = capsys.readouterr()
    assert "orig.mgz is the bias-corrected image, for the source image is not there" in said.err
    folder = target / "sub-1"
    names = ("T1", "aparc+aseg", "aseg", "brainmask", "orig")
    assert sorted(path.name for path in (folder / "mri").iterdir()) == sorted(f"{name}.mgz" for name in names)
    assert (folder / "stats" / "lh.aparc.stats").is_file() and (folder / "stats" / "aseg.stats").is_file()
    found = {name: nib.load(folder / "mri" / f"{name}.mgz") for name in names}
    for name, image in found.items():
        assert image.shape == (256, 256, 256) and nib.aff2axcodes(image.affine) == ("L", "I", "A")
        assert image.get_data_dtype().newbyteorder("=") == (np.int32 if "aseg" in name else np.uint8)
        assert np.allclose(image.affine, found["T1"].affine)
    data = {name: np.asarray(image.dataobj) for name, image in found.items()}
    # Voxel by voxel against the nearest voxel of the results, left and right apart.
    at = np.argwhere(data["aparc+aseg"] > 0)
    points = at @ found["T1"].affine[:3, :3].T + found["T1"].affine[:3, 3]
    back = np.linalg.inv(truth.affine)
    index = np.rint(points @ back[:3, :3].T + back[:3, 3]).astype(int)
    labels = np.asarray(truth.dataobj)[tuple(index.T)]
    assert (labels == data["aparc+aseg"][tuple(at.T)]).mean() > 0.95
    assert points[data["aparc+aseg"][tuple(at.T)] == 1035, 0].max() < 1
    assert points[data["aparc+aseg"][tuple(at.T)] == 2035, 0].min() > -1
    assert np.array_equal(data["aseg"] == 3, data["aparc+aseg"] == 1035)
    assert data["T1"][np.isin(data["aseg"], (2, 41))].mean() == pytest.approx(110, abs=0.5)
    assert np.median(data["T1"][data["aseg"] == 42]) == pytest.approx(66, abs=2)
    different = (data["brainmask"] > 0) != (data["aseg"] > 0)
    assert different.sum() < 0.01 * (data["aseg"] > 0).sum(), "they differ where three labels meet"


@pytest.mark.slow
def test_subjects_of_freesurfer_itself_stay(whole, tmp_path, capsys):
    out, _ = whole
    target = tmp_path / "subjects"
    (target / "sub-1" / "mri").mkdir(parents=True)
    (target / "sub-1" / "mri" / "T1.mgz").write_bytes(b"theirs")
    assert main.main(["stats", str(out), "--fs-dir", str(target)]) != 0
    assert "of another program; left as it is. Give another --fs-dir" in capsys.readouterr().err
    assert (target / "sub-1" / "mri" / "T1.mgz").read_bytes() == b"theirs"
    assert not (target / "sub-1" / "stats").exists()


def test_images_need_all_derivatives(out, tmp_path, capsys):
    assert main.main(["stats", str(out), "--fs-dir", str(tmp_path / "fs")]) != 0
    assert "desc-brain_mask.nii.gz is missing" in capsys.readouterr().err
    assert main.main(["stats", str(out), "--fs-dir", str(tmp_path), "--to", str(tmp_path)]) == 2
    assert "two folders" in capsys.readouterr().err
