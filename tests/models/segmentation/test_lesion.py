"""Lesions: found in slices of any scan, all kept, written under names that are not taken for others."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from brainseg.bidsapp.reports.derivatives import Result
from brainseg.bidsapp.reports.sections import lesion as page
from brainseg.interfaces import base
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import zoo
from brainseg.models.networks.slice_unet import SliceUNet
from brainseg.models.pipeline import lesion_image
from brainseg.models.population import cards, populations
from brainseg.models.quality import rating
from brainseg.models.segmentation import lesion
from helpers.graphs import participant_wf as chain


class Bright(nn.Module):
    """Takes for a lesion what is four and a half deviations above the brain's median."""

    stride = 16

    def forward(self, x, prior=None):
        assert x.shape[1] == 3 and x.shape[2] % 16 == 0 and x.shape[3] % 16 == 0
        logit = (x[:, :1] - 1.5) * 40
        return {"lesion": (logit, logit)}


@pytest.fixture
def bright(monkeypatch):
    monkeypatch.setattr(zoo, "load_once", lambda name, device="cpu": zoo.Model(Bright(), {"spacing": 1.5}))


def head(size=(1.0, 1.0, 1.0)):
    """A ball of brain in a bright skull, with two lesions, a speck and something bright outside."""
    shape = tuple(int(120 / s) for s in size)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = [-60, -60, -60]
    x, y, z = (
        (np.arange(n) * s - 60).reshape([-1 if a == k else 1 for a in range(3)])
        for k, (n, s) in enumerate(zip(shape, size, strict=True))
    )

    def ball(cx, cy, cz, r):
        return (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < r**2

    data = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    brain = ball(0, 0, 0, 45)
    data[~brain] = 0
    data[ball(0, 0, 0, 56) & ~ball(0, 0, 0, 50)] = 400
    data[ball(20, 0, 0, 12)] = 200
    data[ball(-20, 10, 0, 8)] = 200
    data[ball(0, -30, 0, 0.5)] = 200
    return Volume(torch.from_numpy(data), affine), Volume(torch.from_numpy(brain.astype(np.uint8)), affine)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 5)])
def test_every_lesion_is_kept_and_specks_are_not(bright, size):
    image, brain = head(size)
    found = lesion.find(image, brain)
    assert found.mask.grid.shape == image.grid.shape and found.mask.data.dtype == torch.uint8
    assert len(found.lesions) == 2 and found.notes == []
    volumes = [one.volume for one in found.lesions]
    assert volumes == pytest.approx([4 / 3 * np.pi * 12**3, 4 / 3 * np.pi * 8**3], rel=0.2)
    assert found.lesions[0].center == pytest.approx((20, 0, 0), abs=1.5)
    assert found.lesions[1].center == pytest.approx((-20, 10, 0), abs=1.5)
    assert all(one.probability > 0.9 for one in found.lesions)
    assert not bool((found.mask.data[brain.data == 0] > 0).any())
    assert float(found.mask.data.sum()) * image.grid.voxel_volume == pytest.approx(sum(volumes))


@pytest.mark.slow
def test_it_does_not_matter_how_the_scan_is_stored(bright):
    image, brain = head((1, 1, 3))
    flip = np.diag([-1.0, -1, 1, 1])
    flip[:2, 3] = [n - 1 for n in image.grid.shape[:2]]
    turned = [
        Volume(v.data.flip(0, 1).permute(2, 0, 1).contiguous(), v.affine @ flip @ np.eye(4)[:, [2, 0, 1, 3]])
        for v in (image, brain)
    ]
    one, other = lesion.find(image, brain), lesion.find(*turned)
    again = other.mask.data.permute(1, 2, 0).flip(0, 1)
    np.testing.assert_array_equal(one.mask.data.numpy(), again.numpy())
    assert [x.center for x in other.lesions] == [pytest.approx(x.center, abs=1e-3) for x in one.lesions]


def test_nothing_is_found_in_nothing(bright):
    image, brain = head((2, 2, 2))
    calm = image.with_data(torch.where(brain.data > 0, image.data.clamp(max=140), 0))
    found = lesion.find(calm, brain)
    assert found.lesions == [] and not bool(found.mask.data.any())
    with pytest.raises(InputError, match="mask is empty"):
        lesion.find(image, brain.with_data(brain.data * 0))


@pytest.mark.parametrize("fold", [1, 2])
def test_slices_are_independent_and_keep_their_shape(fold):
    torch.manual_seed(0)
    network = SliceUNet(channels=[4, 6, 8], fold=fold).eval()
    assert network.stride == 4 * fold
    x = torch.rand(1, 3, 16, 24, 3)
    whole = network(x)["lesion"][0]
    assert whole.shape == (1, 1, 16, 24, 3)
    torch.testing.assert_close(network(x[..., 1:2])["lesion"][0], whole[..., 1:2])


def test_the_license_is_told_where_the_step_is_on():
    adult = populations.load("adult")
    assert cards.restricted(adult) is None
    assert "lesions: Research use only (LGG CC BY-NC-SA" in cards.restricted(adult, "lesion")
    assert "fetal" in cards.restricted(populations.load("fetal"), "lesion")


def test_the_better_contrast_is_chosen_and_others_are_told():
    assert lesion_image.shown_in(["T1w", "T2w", "FLAIR"]) == 2 and lesion_image.shown_in(["FLAIR"]) == 0
    assert lesion_image.shown_in(["T1w", "PDw"]) is None
    assert "needs a FLAIR image" in lesion_image.skipped("T1w", "lesion", force=True)
    assert "no network" in lesion_image.skipped("FLAIR", "")


def test_no_lesion_in_t2w_without_force():
    assert "--force" in lesion_image.skipped("T2w", "lesion") and not lesion_image.skipped("FLAIR", "lesion")
    for force in (False, True):
        workflow = chain(source_file="/bids/sub-01/anat/sub-01_T2w.nii.gz", lesion=True, force=force)
        found = workflow.get_node("lesion_wf").get_node("lesion").inputs
        assert bool(lesion_image.skipped("T2w", found.model, found.force)) != force
        edges = [(a.name, b.name) for a, b in workflow._graph.edges]
        assert (("segmentation_wf", "lesion_wf") in edges) == (("lesions", "outputs_wf") in edges) == force
        cautions = workflow.get_node("quality_wf").get_node("quality").inputs.cautions
        assert len(cautions) == force


@pytest.mark.slow
def test_lesions_in_t2w_cover_no_ventricle_and_no_sulcus(bright):
    image, brain = head()
    x, y, z = (axis - 60 for axis in np.indices(image.grid.shape))
    structures = np.where(brain.data > 0, 2, 0)
    structures[(x - 20) ** 2 + y**2 + z**2 < 14**2] = 4
    structures[(x + 40) ** 2 + y**2 + z**2 < 6**2] = 24
    bright_csf = image.with_data(torch.where(torch.from_numpy(structures == 24), 200.0, image.data))
    ids = image.with_data(torch.from_numpy(structures.astype(np.int16)))
    assert len(lesion.find(bright_csf, brain).lesions) == 3
    found = lesion.find(bright_csf, brain, structures=ids)
    assert [one.center for one in found.lesions] == [pytest.approx((-20, 10, 0), abs=1.5)]
    assert not found.mask.data[torch.from_numpy(np.isin(structures, [4, 24]))].any()
    assert not found.probability.data[torch.from_numpy(np.isin(structures, [4, 24]))].any()


def test_lesions_outside_flair_are_never_rated_pass():
    _, brain = head((2, 2, 2))
    norms, words = None, ["Lesions were segmented where CSF is as bright"]
    assert rating.rate([], brain, brain, norms=norms).rating == "pass"
    found = rating.rate([], brain, brain, norms=norms, cautions=words)
    assert found.rating == "check" and found.checks[-1].words == words[0]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["FLAIR", "T1w"])
def test_the_step_writes_its_derivatives(stages, tmp_path, monkeypatch, suffix):
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path, f"sub-01_{suffix}")

    def find(image, mask, **_):
        data = torch.zeros(image.grid.shape)
        data[10:14, 20, 20] = 0.75
        found = [lesion.Lesion(80.0, (1.0, 2.0, 3.0), 0.75)]
        return lesion.LesionResult(image.with_data((data > 0).to(torch.uint8)), image.with_data(data), found)

    monkeypatch.setattr(lesion, "find", find)
    workflow = chain(unit, lesion=True)
    assert ("Buda" in workflow.visit_desc()) == (suffix == "FLAIR")
    workflow.base_dir = str(tmp_path / "w")
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")
    folder = unit.out / "sub-01" / "anat"
    written = sorted(p.name for p in folder.glob("*lesion*"))
    notes = json.loads((folder / "sub-01_desc-aseg_volumes.json").read_text())["Notes"]
    if suffix == "T1w":
        assert written == [] and any("lesion was left out" in note for note in notes)
        return
    stems = ("desc-lesion_volumes", "label-lesion_mask", "label-lesion_probseg")
    endings = (("json", "tsv"), ("json", "nii.gz"), ("json", "nii.gz"))
    assert written == [f"sub-01_{stem}.{e}" for stem, pair in zip(stems, endings, strict=True) for e in pair]
    image = nib.load(folder / "sub-01_label-lesion_mask.nii.gz")
    np.testing.assert_array_equal(image.affine, nib.load(unit.source).affine)
    assert image.get_data_dtype() == np.uint8 and int(np.asarray(image.dataobj).sum()) == 4
    about = json.loads((folder / "sub-01_label-lesion_mask.json").read_text())
    assert (
        about["Type"] == "Lesion"
        and about["Description"].startswith("Lesions")
        and "CC BY-NC-SA" in about["NetworkLicense"]
    )
    assert about["Sources"][0] == "bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz"
    table = json.loads((folder / "sub-01_desc-lesion_volumes.json").read_text())
    assert table["Count"] == 1 and table["Volume"] == {"Value": 80.0, "Units": "mm^3"}
    assert any("1 lesion of 0.08 mL" in note for note in notes)
    shown = page.context(Result(unit.out, "sub-01"))
    assert (shown["count"], shown["volume"], shown["contrast"]) == (1, 80.0, "FLAIR")
    assert shown["rows"][0]["center"] == "1.0, 2.0, 3.0"


def test_a_flair_beside_the_reference_is_used(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path)
    others = [str(unit.source).replace("T1w", suffix) for suffix in ("T2w", "FLAIR")]
    workflow = chain(unit, lesion=True, other_contrasts=tuple(others))
    found = workflow.get_node("lesion_wf").get_node("lesion")
    assert found.inputs.image.endswith("_FLAIR.nii.gz")
    # the second of those that are brought to the reference, on its grid
    assert workflow.get_node("shows_lesions").inputs.index == [1]
    edges = [(a.name, b.name) for a, b in workflow._graph.edges]
    assert ("coregistration_wf", "shows_lesions") in edges and ("bias_wf", "lesion_wf") not in edges
    assert ("shows_lesions", "lesion_wf") in edges and ("lesions", "outputs_wf") in edges


@pytest.mark.slow
def test_it_runs_on_the_grid_of_the_reference(stages, tmp_path, monkeypatch):
    from brainseg.models.registration import coregistration

    stages.install(monkeypatch.setattr)
    still = coregistration.Coregistration(np.eye(4), 1.0)
    monkeypatch.setattr(coregistration, "rigid", lambda *a, **k: still)
    unit = stages.participant_session(tmp_path)
    flair = unit.source.with_name("sub-01_run-2_FLAIR.nii.gz")
    image = nib.load(unit.source)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 7, image.affine), flair)
    seen = []

    def find(image, mask, **_):
        seen.append(float(image.data.min()))
        empty = image.with_data(torch.zeros(image.grid.shape))
        return lesion.LesionResult(empty.with_data(empty.data.to(torch.uint8)), empty, [])

    monkeypatch.setattr(lesion, "find", find)
    workflow = chain(unit, lesion=True, other_contrasts=(str(flair),))
    workflow.base_dir = str(tmp_path / "w")
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")
    assert seen == [pytest.approx(float(np.asarray(image.dataobj).min()) + 7, abs=0.5)]
    folder = unit.out / "sub-01" / "anat"
    about = json.loads((folder / "sub-01_label-lesion_mask.json").read_text())
    assert about["Contrast"] == "FLAIR"
    assert about["Sources"][0] == "bids:raw:sub-01/anat/sub-01_run-2_FLAIR.nii.gz"
    assert (folder / "sub-01_run-2_desc-preproc_FLAIR.nii.gz").is_file()
    notes = json.loads((folder / "sub-01_desc-aseg_volumes.json").read_text())["Notes"]
    assert any("No lesion in the FLAIR image" in note for note in notes)


@pytest.mark.slow
def test_nobody_takes_lesions_for_the_brain(stages, tmp_path, monkeypatch):
    bids = pytest.importorskip("smriprep.utils.bids")
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path)
    about = tmp_path / "lesions.json"
    about.write_text(
        json.dumps(
            {"contrast": "FLAIR", "image": str(unit.source).replace("T1w", "FLAIR"), "license": "x"}
        ).replace("}", ', "lesions": []}')
    )
    volume = base.load(unit.inputs["in_preproc"])
    maps = [base.save(volume, tmp_path / f"{k}.nii") for k in range(2)]
    unit.write(str(tmp_path), in_lesions=[*maps, str(about)])
    assert (unit.out / "sub-01" / "anat" / "sub-01_label-lesion_probseg.nii.gz").is_file()
    found = bids.collect_derivatives(unit.out, "01", [], session_id=None)
    assert str(found["t1w_mask"]).endswith("desc-brain_mask.nii.gz")
    assert len(found["t1w_tpms"]) == 3
