"""The lesion stage: which images its network gets, and a trained network of a user from end to end."""

import json

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.models.networks import zoo
from brainseg.models.pipeline import lesion_image
from brainseg.models.population import labels
from brainseg.models.registration import coregistration
from helpers import own_networks, stage_results
from helpers.graphs import participant_wf as chain

RECIPE = """
name: spots
kind: supervised
network: SliceUNet
architecture: {channels: [8, 16]}
inputs: {sampler: slices, axes: [2], contrasts: [T1w], margin: 4, use: lesion}
losses: {cross-entropy: 1.0, dice: 1.0}
stages:
  - {until: 1.0, shape: [40, 44], spacing: 4.0}
generator: {flip: 0.5}
table: spots.tsv
batch: 8
repeat: 8
minutes: 0.08
rate: 2.0e-2
checkpoint_seconds: 100
loggers: []
"""

SPOT = [{"index": 1, "name": "Spot"}]


def core():
    """Return where the scans of ``stage_results`` are dark inside."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in stage_results.SHAPE], indexing="ij")
    return sum(axis**2 for axis in axes) < 0.3**2


def connected(workflow, end):
    """Return what is connected to a stage: (source, output, input)."""
    return {
        (source.name, output.removeprefix("outputnode."), field.removeprefix("inputnode."))
        for source, target, about in workflow._graph.edges(data=True)
        if target.name == end
        for output, field in about["connect"]
    }


def network(folder, *contrasts):
    """Return a network of a user that calls what is dark in its last image a lesion."""
    inputs = {"sampler": "slices", "axes": [2], "margin": 4.0, "contrasts": list(contrasts)}
    return str(own_networks.make(folder, "dark", SPOT, 1, 0, use="lesion", inputs=inputs))


def run(workflow, folder):
    workflow.base_dir = str(folder)
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")


def test_lesions_get_the_image_as_acquired():
    flair = chain(source_file="/bids/sub-01/anat/sub-01_FLAIR.nii.gz", lesion=True)
    assert ("conform_wf", "out_file", "in_file") in connected(flair, "lesion_wf")
    assert not [one for one in connected(flair, "lesion_wf") if one[0] == "bias_wf"]
    beside = chain(lesion=True, other_contrasts=("/bids/sub-01/anat/sub-01_FLAIR.nii.gz",))
    assert connected(beside, "shows_lesions") == {("coregistration_wf", "out_uncorrected", "inlist")}
    assert ("shows_lesions", "out", "in_file") in connected(beside, "lesion_wf")
    assert not [one for one in connected(beside, "lesion_wf") if one[0] in ("bias_wf", "coregistration_wf")]


def test_a_network_of_several_contrasts_gets_all_of_them_as_acquired(tmp_path):
    model = network(tmp_path, "FLAIR", "T1w")
    others = ("/bids/sub-01/anat/sub-01_T2w.nii.gz", "/bids/sub-01/anat/sub-01_FLAIR.nii.gz")
    workflow = chain(lesion=True, other_contrasts=others, networks={"lesion": model})
    assert connected(workflow, "contrasts_of_lesions") == {
        ("conform_wf", "out_file", "in1"),
        ("coregistration_wf", "out_uncorrected", "in2"),
    }
    stage = workflow.get_node("lesion_wf").get_node("lesion").inputs
    assert stage.contrasts == ["T1w", "T2w", "FLAIR"] and stage.image.endswith("_FLAIR.nii.gz")
    alone = chain(lesion=True, other_contrasts=others[:1], networks={"lesion": model})
    assert not connected(alone, "contrasts_of_lesions")
    reason = lesion_image.skipped("T2w", model, True, ["T1w", "T2w"])
    assert "the network dark needs FLAIR and T1w, and there is no FLAIR image" in reason


def test_a_network_sees_the_contrast_that_it_was_trained_on(tmp_path):
    model = network(tmp_path, "T2w")
    assert lesion_image.shown_in(["T1w", "FLAIR", "T2w"], model) == 2
    assert lesion_image.skipped("T2w", model) == "" and lesion_image.cautions("T2w", model) == []
    assert "trained on T2w, and the image is FLAIR" in lesion_image.cautions("FLAIR", model)[0]
    assert not lesion_image.beside_csf("T2w", model) and lesion_image.beside_csf("T2w", "lesion")
    assert lesion_image.skipped("T1w", network(tmp_path, "T1w")) == ""
    assert "needs a FLAIR image" in lesion_image.skipped("PDw", model)


@pytest.mark.slow
def test_a_network_of_two_contrasts_runs_in_the_chain(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    still = coregistration.Coregistration(np.eye(4), 1.0)
    monkeypatch.setattr(coregistration, "rigid", lambda *a, **k: still)
    unit = stages.participant_session(tmp_path)
    flair = unit.source.with_name("sub-01_FLAIR.nii.gz")
    image = nib.load(unit.source)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), flair)
    bright = np.where(core(), 1100, np.asarray(image.dataobj)).astype(np.int16)
    nib.save(nib.Nifti1Image(bright, image.affine), unit.source)
    model = network(tmp_path, "T1w", "FLAIR")
    run(chain(unit, lesion=True, other_contrasts=(str(flair),), networks={"lesion": model}), tmp_path / "w")
    (found,) = (unit.out / "sub-01" / "anat").glob("*_label-lesion_mask.nii.gz")
    mask = np.asarray(nib.load(found).dataobj) > 0
    assert 2 * (mask & core()).sum() / (mask.sum() + core().sum()) > 0.8


@pytest.mark.slow
def test_what_one_command_trains_segments_lesions_in_the_chain(stages, tmp_path, monkeypatch):
    images = tmp_path / "images"
    for k in range(4):
        folder = images / f"sub-{k}" / "anat"
        folder.mkdir(parents=True)
        scan = stage_results.scan(seed=k + 1)
        kinds = {
            "FLAIR": scan,
            "label-lesion_mask": core().astype(np.uint8),
            "desc-brain_mask": ((scan > 400) | core()).astype(np.uint8),
        }
        for ending, data in kinds.items():
            path = folder / f"sub-{k}_{ending}.nii.gz"
            nib.save(nib.Nifti1Image(data, stage_results.affine()), path)
    (tmp_path / "spots.yaml").write_text(RECIPE)
    (tmp_path / "spots.tsv").write_text("index\tname\n1\tSpot\n")
    given = ["train", tmp_path / "spots.yaml", "inputs.contrasts=[FLAIR]", "license=CC0-1.0", "data=balls"]
    given += ["--maps", images, "--out", tmp_path / "run", "--threads", 1, "--device", "cpu"]
    assert main.main([str(word) for word in given]) == 0
    model = tmp_path / "run" / "spots.safetensors"
    card = json.loads(model.with_suffix(".json").read_text())
    assert card["inputs"]["contrasts"] == ["FLAIR"] and card["inputs"]["sampler"] == "slices"

    stages.install(monkeypatch.setattr)
    monkeypatch.setattr(stage_results, "mask_of", lambda data: ((data > 400) | core()).astype(np.uint8))
    unit = stages.participant_session(tmp_path, "sub-01_FLAIR")
    workflow = chain(unit, lesion=True, networks={"lesion": str(model)})
    assert "balls" in workflow.visit_desc()
    run(workflow, tmp_path / "w")
    folder = unit.out / "sub-01" / "anat"
    mask = np.asarray(nib.load(folder / "sub-01_label-lesion_mask.nii.gz").dataobj) > 0
    assert 2 * (mask & core()).sum() / (mask.sum() + core().sum()) > 0.8
    about = json.loads((folder / "sub-01_label-lesion_mask.json").read_text())
    expected = {"Name": "spots", "SHA256": card["sha256"], "TrainingData": "balls", "License": "CC0-1.0"}
    assert about["Network"] == expected and about["NetworkLicense"] == "CC0-1.0"
    assert zoo.read_card(str(model))["sha256"] == card["sha256"]
    labels.own.cache_clear()
