"""Orientations in headers: a wrong one is told and corrected, a right one is never blamed."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.config import orientation
from brainseg.interfaces import base
from brainseg.interfaces.conform import Conform
from brainseg.models.errors import InputError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.localization import head, upright
from brainseg.models.population import populations
from brainseg.models.quality import rating
from brainseg.models.segmentation import signed_distance, skullstrip
from helpers.graphs import participant_wf as chain

T1W = [0, 250, 180, 60, 170, 90, 120, 220, 20, 40]
T2W = [0, 100, 140, 250, 130, 90, 60, 180, 10, 30]
"""Intensities of the mean head's classes."""


def scan(contrast=T1W) -> Volume:
    """A head whose header is right: RAS."""
    maps, spacing, _ = upright._mean_head()
    data = (maps * torch.tensor(contrast).view(-1, 1, 1, 1)).sum(0)
    data += 4 * torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(data.shape) - 1) / 2
    return Volume(data, affine)


def stored(volume: Volume, codes: str) -> Volume:
    """The same voxels in another order, under a header that says RAS."""
    image = nib.Nifti1Image(volume.data.numpy(), volume.affine)
    moved = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
        )
    )
    return Volume(torch.from_numpy(np.array(moved.dataobj)), volume.affine)


@pytest.fixture
def network(monkeypatch):
    """A coarse network that finds every head equally good, or one of an affine better."""
    monkeypatch.setattr(upright, "STEPS", 20)
    monkeypatch.setattr(upright, "POINTS", 1000)

    def install(best: np.ndarray | None = None) -> None:
        def find(volume, **_):
            same = best is None or np.allclose(volume.affine, best)
            return head.Coarse(*[volume] * 3, np.eye(4), 2.0 if same else 3.0, 0.6 if same else 0.5)

        monkeypatch.setattr(head, "find", find)
        monkeypatch.setattr(head, "explained", lambda volume, found: -found.error)

    install()
    return install


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [T1W, T2W])
def test_a_right_header_is_not_blamed(network, contrast):
    assert upright.check(scan(contrast)) is None


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["RAS", "LIA", "ARS"])
def test_turns_that_are_left_out_early_would_not_have_been_the_best(monkeypatch, codes):
    image, turns = stored(scan(), codes), upright.quarter_turns()
    some = upright.scores_of(image, turns)
    monkeypatch.setattr(upright, "KEPT", len(turns))
    every = upright.scores_of(image, turns)
    assert some.argmax() == every.argmax()
    assert float(some.max() - some[0]) == pytest.approx(float(every.max() - every[0]), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["LIA", "RPI", "ARS"])
def test_a_header_that_lies_is_told(network, codes):
    wrong = stored(scan(), codes)
    turn = upright.check(wrong)
    assert turn is not None and turn.before == "RAS" and codes in (turn.after, turn.mirrored)
    assert "does not fit the head" in turn.words and "--reorient" in upright.REMEDY
    assert upright.codes(turn.affine) == turn.after
    center = (np.array(wrong.grid.shape) - 1) / 2
    np.testing.assert_allclose((turn.affine @ [*center, 1])[:3], (wrong.affine @ [*center, 1])[:3], atol=1e-9)


@pytest.mark.slow
def test_an_empty_header_gets_the_radiological_order(network):
    wrong = stored(scan(), "LIA")
    corrected, change = upright.correct(wrong, "auto")
    assert (change.before, change.after, change.mirrored) == ("RAS", "LIA", "RIA")
    assert "Left and right cannot be told" in change.note
    assert corrected.data is wrong.data
    assert upright.codes(corrected.affine) == "LIA"


@pytest.mark.slow
def test_the_network_can_contradict(network):
    wrong = stored(scan(), "LIA")
    network(wrong.affine)
    assert upright.check(wrong) is None


def test_codes_are_taken_at_their_word():
    volume = Volume(torch.zeros(4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    corrected, change = upright.correct(volume, "AIL")
    assert upright.codes(corrected.affine) == "AIL" and change.caution == ""
    np.testing.assert_allclose(np.linalg.norm(corrected.affine[:3, :3], axis=0), [2, 3, 4])
    assert upright.correct(volume, "RAS") == (volume, None)
    assert orientation.codes("lia") == "LIA" and orientation.codes("") == ""
    for wrong in ("LIL", "XYZ", "RA", "autos"):
        with pytest.raises(UsageError, match="--reorient"):
            orientation.codes(wrong)


def test_brains_in_any_position_are_not_checked():
    assert skullstrip.upright_model("adult") == populations.load("adult").coarse
    assert skullstrip.upright_model("fetal") == ""
    assert skullstrip.orientation(Volume(torch.zeros(4, 4, 4), np.eye(4)), "fetal") is None
    volume = Volume(torch.zeros(4, 4, 4), np.eye(4))
    assert upright.correct(volume, "auto", model="") == (volume, None)


def test_no_brain_because_of_the_header_says_so(monkeypatch):
    volume = Volume(torch.rand(4, 4, 4), np.eye(4))
    turn = upright.Turn(np.eye(4), "RAS", "LIA", "RIA", 0.1)

    def find(*_, **__):
        raise head.no_brain()

    monkeypatch.setattr(head, "find", find)
    monkeypatch.setattr(upright, "check", lambda *_, **__: turn)
    with pytest.raises(InputError, match="orientation in the header") as error:
        signed_distance.strip(volume, populations.load("adult"))
    assert "--reorient" in error.value.remedy
    monkeypatch.setattr(upright, "check", lambda *_, **__: None)
    with pytest.raises(InputError, match="no brain"):
        signed_distance.strip(volume, populations.load("adult"))


def test_a_misfit_is_rated_fail_and_a_correction_check():
    brain = Volume(torch.ones(8, 8, 8, dtype=torch.uint8), np.eye(4))
    failed = rating.rate([], brain, brain, norms=None, misfit="The orientation does not fit")
    assert failed.rating == "fail" and "does not fit" in failed.checks[-1].words
    assert rating.rate([], brain, brain, norms=None, cautions=["Left and right"]).rating == "check"


@pytest.mark.slow
def test_results_of_a_corrected_copy_have_its_orientation_and_say_so(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path)
    source = nib.load(unit.source)
    assert nib.aff2axcodes(source.affine) == ("L", "A", "S")
    workflow = chain(unit, reorient="LIA")
    workflow.base_dir = str(tmp_path / "w")
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")
    folder = unit.out / "sub-01" / "anat"
    for ending in ("desc-preproc_T1w", "desc-brain_mask", "dseg"):
        image = nib.load(folder / f"sub-01_{ending}.nii.gz")
        assert nib.aff2axcodes(image.affine) == ("L", "I", "A") and image.shape == source.shape
        about = json.loads((folder / f"sub-01_{ending}.json").read_text())
        assert about["Reoriented"] == {"HeaderOrientation": "LAS", "Orientation": "LIA"}
    assert about["SpatialReference"] == "bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    notes = json.loads((folder / "sub-01_desc-aseg_volumes.json").read_text())["Notes"]
    assert any("orientation was corrected" in note for note in notes)
    assert nib.aff2axcodes(nib.load(unit.source).affine) == ("L", "A", "S")


def test_images_that_fit_keep_their_header(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(upright, "check", lambda *_, **__: None)
    unit = stages.participant_session(tmp_path)
    node = Conform(source_file=str(unit.source), reorient="auto", model="head-coarse")
    found = node.run(cwd=str(tmp_path)).outputs
    assert (found.reoriented, found.caution, found.notes) == ("", "", [])
    np.testing.assert_allclose(base.load(found.out_file).affine, nib.load(unit.source).affine)
