"""The parts of the hippocampus: found, brought to the image's grid, written; and what the step leaves out."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.reports.derivatives import Result
from brainseg.bidsapp.reports.sections import hippocampus as page
from brainseg.interfaces import hippocampus as node
from brainseg.models.geometry.cropping import crop_or_pad, strip_padding
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.hippocampus import hippocampus
from brainseg.models.hippocampus.hippocampus import Parts
from brainseg.models.population import labels, populations
from brainseg.models.templates import bundled
from helpers.graphs import participant_wf

SIDES = {"Left": (-26.0, -20.0, -15.0), "Right": (26.0, -20.0, -15.0)}


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    out = np.eye(4)
    out[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return out


@pytest.fixture
def half_and_half(monkeypatch):
    """A network that calls the front half of a ball in its box anterior, the other one posterior."""
    seen = []

    def find(image, grid=None, **_):
        seen.append(grid)
        index = torch.from_numpy(np.indices(grid.shape)).float()
        middle = (torch.tensor(grid.shape).view(3, 1, 1, 1) - 1) / 2
        r = index - middle
        ball = (r.square().sum(0) < 36).float()
        front = (r[1] > 0).float()
        maps = torch.stack([ball * front, ball * (1 - front)])
        return Parts(
            Volume(ball, grid.affine), Volume(maps, grid.affine), Volume(torch.ones(grid.shape), grid.affine)
        )

    monkeypatch.setattr(hippocampus, "find", find)
    return seen


def head(rotation: float = 0.0):
    """An image, its structures and their centers; the head is turned in the scanner."""
    affine = np.diag([-1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = 90.0, -100.0, -90.0
    shape = (120, 130, 110)
    turn = turned(rotation)
    centroids = {k: tuple((turn @ [*point, 1.0])[:3]) for k, point in bundled.load().centroids.items()}
    structures = torch.zeros(shape, dtype=torch.int16)
    grid = Grid(shape, affine)
    points = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    for structure in hippocampus.STRUCTURES.values():
        near = np.linalg.norm(points - np.array(centroids[structure]), axis=1) < 6
        structures.view(-1)[torch.from_numpy(near)] = structure
    return Volume(torch.rand(grid.shape), affine), Volume(structures, affine), centroids


@pytest.mark.slow
@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_each_side_gets_its_labels_on_the_grid_of_the_image(half_and_half, rotation):
    image, structures, centroids = head(rotation)
    found = hippocampus.find_both(image, structures, centroids)
    assert found.labels.grid.shape == image.grid.shape
    np.testing.assert_array_equal(found.labels.affine, image.affine)
    assert found.labels.data.dtype == torch.uint8 and set(found.labels.data.unique().tolist()) == {
        0,
        1,
        2,
        3,
        4,
    }
    back = turned(-rotation)
    where = {}
    for label in (1, 2, 3, 4):
        index = (found.labels.data == label).nonzero().numpy().mean(0)
        where[label] = (back @ [*(image.affine[:3, :3] @ index + image.affine[:3, 3]), 1])[:3]
    # In the head's own frame the left is left of the right, and anterior in front of posterior.
    assert where[1][0] < -10 and where[3][0] > 10
    for anterior, posterior in ((1, 2), (3, 4)):
        assert where[anterior][1] - where[posterior][1] > 3
        assert abs(where[anterior][0] - where[posterior][0]) < 1.5
    ball = 4 / 3 * np.pi * 6**3
    for pair in ((1, 2), (3, 4)):
        assert sum(found.volumes[k] for k in pair) == pytest.approx(ball, rel=0.1)
    assert found.notes == []


@pytest.mark.slow
def test_a_missing_side_is_noted_and_a_wrong_place_too(half_and_half):
    image, structures, centroids = head()
    del centroids[53]
    centroids[17] = tuple(np.array(centroids[17]) + [0, 25, 0])
    found = hippocampus.find_both(image, structures, centroids)
    assert any("No right hippocampus" in note for note in found.notes)
    assert any("do not agree" in note for note in found.notes)
    assert found.volumes[3] == found.volumes[4] == 0


def test_padding_is_taken_off_and_put_on():
    data = torch.zeros(30, 30, 30)
    data[5:20, 4:25, 3:22] = torch.rand(15, 21, 19) + 1
    crop = strip_padding(Volume(data, np.eye(4)))
    assert tuple(crop.data.shape) == (15, 21, 19)
    boxed = crop_or_pad(crop, (64, 64, 64))
    assert tuple(boxed.data.shape) == (64, 64, 64)
    back = np.linalg.inv(boxed.affine) @ [7.0, 8, 9, 1]
    x, y, z = np.rint(back[:3]).astype(int)
    assert boxed.data[x, y, z] == data[7, 8, 9]
    empty = Volume(torch.ones(3, 3, 3), np.eye(4))
    assert strip_padding(empty).data.shape == (3, 3, 3)


def test_populations_and_contrasts_without_a_network_are_told():
    assert populations.load("adult").hippocampus == "hippocampus"
    assert populations.load("fetal").hippocampus == ""
    assert "T1w images only, and this one is FLAIR" in node.skipped("FLAIR", "hippocampus")
    assert "no network" in node.skipped("T1w", "")


def test_other_contrasts_give_a_note_and_no_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_filename("a.nii")
    (tmp_path / "m.json").write_text('{"volumes": {}, "centroids": {}}')
    given = {"in_file": "a.nii", "in_structures": "a.nii", "in_measures": "m.json", "contrast": "T2w"}
    done = node.FindHippocampus(**{k: str(tmp_path / v) if "." in v else v for k, v in given.items()}).run()
    assert len(done.outputs.notes) == 1 and "left out" in done.outputs.notes[0]
    assert not isinstance(done.outputs.out_file, str)


def test_the_table_lists_both_sides_with_partners():
    table = labels.load("hippocampus")
    assert [table[k].partner for k in (1, 2, 3, 4)] == [3, 4, 1, 2]
    assert table.unsided == (0, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_the_step_writes_its_derivatives(stages, tmp_path, monkeypatch, suffix):
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path, f"sub-01_{suffix}")

    def find_both(image, structures, centroids, **_):
        data = torch.zeros(image.grid.shape, dtype=torch.uint8)
        for k in (1, 2, 3, 4):
            data[10 + k, 20, 20] = k
        return hippocampus.HippocampusResult(
            image.with_data(data), {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0}, ["An odd hippocampus."]
        )

    monkeypatch.setattr(hippocampus, "find_both", find_both)
    workflow = participant_wf(unit, hippocampus=True)
    assert ("Decathlon" in workflow.visit_desc()) == (suffix == "T1w")
    workflow.base_dir = str(tmp_path / "w")
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")
    folder = unit.out / "sub-01" / "anat"
    written = sorted(p.name for p in folder.glob("*hippocampus*"))
    notes = json.loads((folder / "sub-01_desc-aseg_volumes.json").read_text())["Notes"]
    if suffix != "T1w":
        assert written == [] and any("hippocampus was left out" in note for note in notes)
        return
    stem = "sub-01_desc-hippocampus"
    assert written == [
        f"{stem}_dseg.json",
        f"{stem}_dseg.nii.gz",
        f"{stem}_volumes.json",
        f"{stem}_volumes.tsv",
    ]
    image, source = nib.load(folder / f"{stem}_dseg.nii.gz"), nib.load(unit.source)
    np.testing.assert_array_equal(image.affine, source.affine)
    assert image.shape == source.shape and image.get_data_dtype() == np.uint8
    assert set(np.unique(image.dataobj)) == {0, 1, 2, 3, 4}
    about = json.loads((folder / f"{stem}_dseg.json").read_text())
    assert about["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz" and about["Sources"]
    rows = (folder / f"{stem}_volumes.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["index", "name", "hemisphere", "volume_mm3"]
    assert rows[1].split("\t") == ["1", "Left-Hippocampus-Anterior", "L", "10.00"]
    assert "An odd hippocampus." in notes
    shown = page.rows(Result(unit.out, "sub-01"))
    assert [(row["name"], row["left"], row["right"]) for row in shown] == [
        ("anterior", 10, 30),
        ("posterior", 20, 40),
        ("whole", 30, 70),
    ]
