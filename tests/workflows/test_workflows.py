"""The graphs: what they are made of, what they say of themselves, and that errors come through them whole."""

import doctest
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nipype.pipeline import engine as pe

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.study import parcels
from brainseg.bidsapp.status import failures
from brainseg.interfaces import base
from brainseg.interfaces import skullstrip as skullstrip_node
from brainseg.interfaces.conform import Conform
from brainseg.interfaces.registration import Register
from brainseg.interfaces.segmentation import Segment
from brainseg.interfaces.skullstrip import SkullStrip
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.io.conform import notes_on
from brainseg.models.networks import zoo
from brainseg.models.pipeline import methods
from brainseg.models.population import populations
from brainseg.models.segmentation import segmentation, skullstrip
from brainseg.models.templates import bundled, catalog
from brainseg.workflows import stages as builders
from brainseg.workflows.common.parameters import ParticipantInputs
from brainseg.workflows.common.resources import memory
from brainseg.workflows.growth import init_growth_wf
from brainseg.workflows.participant import select_connections
from brainseg.workflows.quality import init_quality_wf
from brainseg.workflows.registration import init_registration_wf
from brainseg.workflows.segmentation import init_segmentation_wf
from brainseg.workflows.skullstrip import init_skullstrip_wf
from helpers import DATA
from helpers.graphs import participant_wf as chain

STAGES = (
    "conform",
    "skullstrip",
    "bias",
    "intracranial",
    "segmentation",
    "registration",
    "parcellation",
    "hippocampus",
    "lesion",
    "quality",
    "outputs",
)
EVERYTHING = {"hippocampus": True, "lesion": True, "atlases": ("Schaefer100",)}


def run(workflow, folder):
    """Run a workflow in this process; returns its nodes after they ran, by name."""
    workflow.base_dir = str(folder)
    workflow.config["execution"] = {
        "create_report": "false",
        "remove_unnecessary_outputs": "false",
        "crashdump_dir": str(folder),
        "crashfile_format": "txt",
    }
    return {node.name: node for node in workflow.run(plugin="Linear").nodes}


@pytest.mark.parametrize("network", ["", "mine"])
def test_the_intracranial_volume_is_a_stage_where_there_is_a_network(monkeypatch, network):
    record = replace(populations.load("adult"), intracranial=network)
    monkeypatch.setattr(builders, "record_of", lambda *_: record)
    scan = "/bids/sub-01/anat/sub-01_T1w.nii.gz"
    plan = builders.Plan(ParticipantInputs(source_file=scan, bids_root="/bids", out_dir="/out", key="sub-01"))
    found = {name for source, _, target, _ in select_connections(plan) for name in (source, target)}
    assert ("intracranial" in found) == bool(network) and {"conform", "skullstrip", "outputs"} <= found


@pytest.mark.parametrize(
    ("given", "network", "expected"),
    [
        ({}, "deepbet", True),
        ({}, "", False),
        ({"mask": "m.nii"}, "deepbet", True),
        ({"structures": "s.nii"}, "x", False),
    ],
)
def test_the_segmentation_sees_fluid_around_a_mask_that_was_made_tight(monkeypatch, given, network, expected):
    record = replace(populations.load("adult"), t1w_mask=network)
    monkeypatch.setattr(builders, "record_of", lambda *_: record)
    scan = "/bids/sub-01/anat/sub-01_T1w.nii.gz"
    inputs = ParticipantInputs(
        source_file=scan, bids_root="/bids", out_dir="/out", key="sub-01", precomputed=given
    )
    row = ("skullstrip", "out_region", "segmentation", "in_region")
    plan = builders.Plan(inputs)
    assert (row in select_connections(plan)) == expected


@pytest.mark.parametrize("given", [{"mask": "m.nii"}, {"mask": "m.nii", "structures": "s.nii"}])
def test_fluid_around_a_given_mask_is_sought_for_a_segmentation_only(given):
    scan = "/bids/sub-01/anat/sub-01_T1w.nii.gz"
    inputs = ParticipantInputs(
        source_file=scan, bids_root="/bids", out_dir="/out", key="sub-01", precomputed=given
    )
    node = builders.build_skullstrip(builders.Plan(inputs)).get_node("given_mask")
    assert node.inputs.region == ("structures" not in given)


def test_every_stage_is_a_workflow_with_one_node_of_its_name():
    workflow = chain(**EVERYTHING)
    for stage in STAGES:
        inner = workflow.get_node(f"{stage}_wf")
        assert inner is not None
        assert {"inputnode", "outputnode", stage} <= set(inner.list_node_names())
    assert set(workflow.get_node("outputnode").inputs.copyable_trait_names()) == {
        "out_files",
        "notes",
        "stripped",
    }


def test_nodes_declare_what_they_need():
    workflow = chain(num_threads=3, mem_gb=64.0, **EVERYTHING)
    nodes = {stage: workflow.get_node(f"{stage}_wf.{stage}") for stage in STAGES}
    assert {stage: node.mem_gb for stage, node in nodes.items()} == memory("of a head at 1 mm")
    threads = {stage: node.n_procs for stage, node in nodes.items()}
    assert threads == dict.fromkeys(STAGES, 3) | {"conform": 1, "quality": 1, "outputs": 2, "parcellation": 1}
    for stage, node in nodes.items():
        assert node.inputs.num_threads == (3 if stage == "outputs" else threads[stage])
    small = chain(mem_gb=1.0, **EVERYTHING)
    assert max(small.get_node(f"{stage}_wf.{stage}").mem_gb for stage in STAGES) == 1.0


def test_memory_grows_with_the_image(nifti, tmp_path):
    small, large = memory(nifti(tmp_path / "a.nii")), memory("of a head at 1 mm")
    assert set(small) == set(large) == set(STAGES)
    assert all(small[stage] < large[stage] <= 4 for stage in STAGES)


@pytest.mark.parametrize("device, slot", [("cpu", False), ("cuda:1", True), ("mps", False)])
def test_networks_take_a_gpu_slot(device, slot):
    workflow = chain(device=device, hippocampus=True, lesion=True)
    for stage in ("skullstrip", "intracranial", "segmentation", "hippocampus", "lesion"):
        inputs = workflow.get_node(f"{stage}_wf.{stage}").inputs
        assert (inputs.device, inputs.use_gpu) == (device, slot)
    assert not hasattr(workflow.get_node("bias_wf.bias").inputs, "use_gpu")


@pytest.mark.parametrize(
    ("space", "device", "expected"),
    [
        (None, "cuda:1", ("cpu", False)),  # its structures come with the program
        ("MNI152NLin6Asym", "cuda:1", ("cuda:1", True)),
        ("MNI152NLin6Asym", "cpu", ("cpu", False)),
    ],
)
def test_registration_takes_a_slot_where_networks_segment_the_template(space, device, expected):
    workflow = chain(device=device, **({"output_spaces": (space,)} if space else {}))
    inputs = workflow.get_node("registration_wf.registration").inputs
    assert (inputs.device, inputs.use_gpu) == expected


def test_every_node_with_a_device_says_whether_it_uses_a_gpu():
    workflow = chain(device="cuda:0", hippocampus=True, lesion=True)
    nodes = [workflow.get_node(name) for name in workflow.list_node_names()]
    devices = [node for node in nodes if hasattr(node.inputs, "device")]
    assert len(devices) > 4
    assert all(node.inputs.use_gpu == node.inputs.device.startswith("cuda") for node in devices)


def test_where_it_is_computed_is_no_reason_to_compute_again(tmp_path):
    (tmp_path / "a.nii").touch()
    hashes = set()
    for device, threads in (("cpu", 1), ("cpu", 2), ("cuda:0", 1)):
        interface = SkullStrip(in_file=str(tmp_path / "a.nii"), device=device, num_threads=threads)
        interface.inputs.use_gpu = device != "cpu"
        hashes.add(interface.inputs.get_hashval(hash_method="timestamp")[1])
    assert len(hashes) == 1


def test_methods_are_told_in_the_order_of_the_chain():
    text = chain().visit_desc()
    told = [
        "BIDS App",
        "own grid",
        "signed distance",
        "N4",
        "32 structures",
        "MNI152NLin2009cAsym",
        "derivatives",
    ]
    assert sorted(told, key=text.index) == told
    assert text.count("doi:") >= 7
    assert "{" not in text
    assert "were recognized" in text
    assert "had been skull-stripped before" in chain(skull_strip="skip").visit_desc()
    assert "without a skull" not in chain(skull_strip="force").visit_desc()


def test_unknown_populations_are_refused():
    with pytest.raises(UsageError, match="unknown population 'martian'"):
        chain(population="martian")


def test_missing_networks_are_told_before_anything_runs(monkeypatch):
    def missing(name):
        raise zoo.ModelError(f"no weights at /models/{name}.safetensors")

    monkeypatch.setattr(zoo, "read_card", missing)
    with pytest.raises(MissingFileError, match="no weights at /models/head-coarse"):
        chain()


@pytest.mark.slow
def test_the_chain_runs_from_scan_to_derivatives(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    participant_session = stages.participant_session(tmp_path)
    nodes = run(chain(participant_session), tmp_path / "wf")
    outputs = nodes["outputs"].result.outputs
    assert outputs.notes == ["A note from the segmentation."]
    judged = nodes["quality_files"].result.outputs.notes
    assert judged[0].startswith("Quality control: failed")  # stripes are no brain
    assert outputs.stripped is False
    masks = list(participant_session.out.rglob("*_desc-brain_mask.json"))
    assert [json.loads(path.read_text())["MaskSource"] for path in masks] == ["deepbet"] * 2
    cavity = [f"sub-01/anat/sub-01_label-intracranial_mask.{ending}" for ending in ("json", "nii.gz")]
    tree = sorted([*(DATA / "outputs_T1w.txt").read_text().split(), *cavity])
    assert stages.tree(participant_session.out) == tree
    about = json.loads((participant_session.out / "sub-01/anat/sub-01_desc-aseg_volumes.json").read_text())
    assert about["Notes"] == outputs.notes
    assert json.loads(Path(nodes["registration"].result.outputs.out_transform).read_text())["error_mm"] < 1e-3

    # a second run computes nothing again, and writes what was lost
    lost = participant_session.out / "sub-01/anat/sub-01_dseg.nii.gz"
    lost.unlink()
    monkeypatch.setattr(skullstrip, "skullstrip", None)
    monkeypatch.setattr(segmentation, "segment", None)
    run(chain(participant_session), tmp_path / "wf")
    assert lost.is_file()


@pytest.mark.slow
def test_parcels_go_through_the_chain(stages, tmp_path, monkeypatch):
    """An atlas of two halves and a map: images, tables, sidecars, notes and the tables of the study."""
    stages.install(monkeypatch.setattr)
    participant_session = stages.participant_session(tmp_path)
    grid = stages.small_template().image
    halves = np.ones(grid.data.shape, np.int16)
    halves[20:] = 2
    nib.save(nib.Nifti1Image(halves, grid.affine), tmp_path / "lab_dseg.nii.gz")
    (tmp_path / "lab_dseg.tsv").write_text("index\tname\n1\tLeft half\n2\tRight half\n3\tNowhere\n")
    atlas = f"Lab={tmp_path / 'lab_dseg.nii.gz'}"
    workflow = chain(participant_session, atlases=(atlas,), maps={"Own": str(participant_session.source)})
    outputs = run(workflow, tmp_path / "wf")["outputs"].result.outputs
    anat = participant_session.out / "sub-01" / "anat"
    written = {Path(path).name for path in outputs.out_files}
    labeled = "seg-Lab_desc-parcels_dseg"
    ends = (f"{labeled}.nii.gz", f"{labeled}.tsv", "seg-Lab_morph.tsv", f"{labeled}.lut.txt")
    assert {f"sub-01_{end}" for end in ends} <= written
    found = np.asarray(nib.load(anat / f"sub-01_{ends[0]}").dataobj)
    inside = np.asarray(nib.load(anat / "sub-01_desc-brain_mask.nii.gz").dataobj) > 0
    assert np.array_equal(found > 0, inside)  # the template has no structures: parcels of no gray matter
    assert (anat / f"sub-01_{ends[1]}").read_text().splitlines()[1].split("\t")[:2] == ["1", "Left half"]
    rows = [line.split("\t") for line in (anat / f"sub-01_{ends[2]}").read_text().splitlines()]
    assert rows[0] == ["index", "name", "volume_mm3", "gm_volume_mm3", "Own_mean", "Own_median", "Own_sd"]
    data = np.asarray(nib.load(participant_session.source).dataobj)
    assert [float(row[4]) for row in rows[1:]] == pytest.approx(
        [data[found == k].mean() for k in (1, 2)], rel=1e-4
    )
    about = json.loads((anat / f"sub-01_{ends[0].replace('nii.gz', 'json')}").read_text())
    assert about["Atlas"] == {"Name": "Lab", "Space": bundled.DEFAULT, "File": "lab_dseg.nii.gz"}
    results = derivatives.load_all(participant_session.out)
    names = [
        path.name for path in parcels.write(participant_session.out, results, {"participant_id": ["sub-01"]})
    ]
    assert names[-1] == "group_parcels.tsv" and "group_seg-Lab_Own_mean.tsv" in names
    lines = (participant_session.out / "group_parcels.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "atlas", "index", "name", "measure", "value"]
    assert len(lines) == 1 + 2 * 5
    wide = (participant_session.out / "group_seg-Lab_volume_mm3.tsv").read_text().splitlines()
    assert wide[0].split("\t") == ["participant_id", "Left half", "Right half"]
    for end in ends:
        (anat / f"sub-01_{end}").unlink()
    assert parcels.write(participant_session.out, derivatives.load_all(participant_session.out), {}) == []
    assert not list(participant_session.out.glob("group_*"))


@pytest.mark.slow
def test_notes_of_all_stages_come_in_their_order(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    participant_session = stages.participant_session(tmp_path)
    image = nib.load(participant_session.source)
    moved = image.affine.copy()
    moved[0, 3] += 9
    image.set_qform(moved, 1)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), participant_session.source)
    away = stages.small_template()
    far = {index: tuple(np.array(point) * [1, 1, -1]) for index, point in away.centroids.items()}
    far[17], far[53] = (90.0, 0.0, 0.0), (-90.0, 0.0, 0.0)
    rng = np.random.default_rng(0)
    far = {index: tuple(np.array(point) + rng.normal(0, 40, 3)) for index, point in far.items()}
    monkeypatch.setattr(bundled, "load", lambda name: bundled.Template(name, away.image, away.mask, far))
    nodes = run(chain(participant_session, skull_strip="skip"), tmp_path / "wf")
    assert nodes["outputs"].result.outputs.stripped is True
    starts = (
        "The header's qform and sform disagree by up to 9.0 mm",
        "The image was taken as skull-stripped",
        "The intracranial volume is not available: there is no skull in the image.",
    )
    starts += ("A note from the segmentation", "After alignment the structures are", "Quality control")
    found = nodes["every_note"].result.outputs.out
    assert all(note.startswith(start) for note, start in zip(found, starts, strict=True))


def fault_of(node):
    """What a user is told of a node that fails, as the run finds it out."""
    with pytest.raises(Exception) as caught:
        node.run()
    return failures.explain(caught.value, node.result)


def test_errors_keep_file_reason_and_remedy(nifti, tmp_path):
    path = nifti(tmp_path / "sub-01_T1w.nii.gz")
    path.write_bytes(path.read_bytes()[:2000])
    fault = fault_of(pe.Node(Conform(source_file=str(path)), name="conform", base_dir=str(tmp_path)))
    assert (fault.file, fault.kind) == (str(path), "InputError")
    assert "truncated or damaged" in fault.reason
    assert fault.remedy == "Fetch or convert it again"


def test_errors_that_name_no_file_are_given_the_scan(nifti, tmp_path, monkeypatch):
    def refuse(volume, population, *, mode, device):
        raise InputError(None, "no brain was found in it", "Look at the image")

    monkeypatch.setattr(skullstrip, "skullstrip", refuse)
    path = str(nifti(tmp_path / "a.nii"))
    interface = SkullStrip(in_file=path, source_file="/bids/sub-01_T1w.nii.gz")
    fault = fault_of(pe.Node(interface, name="skullstrip", base_dir=str(tmp_path)))
    assert fault.file == "/bids/sub-01_T1w.nii.gz"
    assert (fault.reason, fault.remedy) == ("no brain was found in it", "Look at the image")


def test_atlases_in_other_templates_add_no_stage():
    named = ("Schaefer100", "Lab=/a/dseg.nii.gz:MNIInfant:cohort-2")
    workflow = chain(atlases=named[1:])
    assert workflow.get_node("parcellation_wf") is None
    text = chain(atlases=named).visit_desc()
    assert "the atlas Schaefer 2018 of 100 parcels and 17 networks (Schaefer et al., 2018" in text
    assert "confined to the gray matter" in text


def test_missing_templates_and_networks_are_told(nifti, tmp_path, monkeypatch):
    def missing(volume, population, *, mode, device):
        raise zoo.ModelError("no weights at /models/x.safetensors")

    monkeypatch.setattr(skullstrip, "skullstrip", missing)
    path = str(nifti(tmp_path / "a.nii"))
    fault = fault_of(pe.Node(SkullStrip(in_file=path), name="skullstrip", base_dir=str(tmp_path)))
    assert fault.kind == "MissingFileError"
    assert "no weights at /models/x.safetensors" in fault.reason
    measures = tmp_path / "measures.json"
    measures.write_text('{"volumes": {}, "centroids": {}}')
    monkeypatch.setattr(catalog, "of_templateflow", lambda: ["Moon"])
    register = Register(in_measures=str(measures), template="Moon")
    fault = fault_of(pe.Node(register, name="registration", base_dir=str(tmp_path)))
    assert fault.kind == "MissingFileError"
    assert "the template is not on this machine" in fault.reason
    assert "brainseg templates get Moon" in fault.remedy


def test_a_gpu_without_memory_falls_back_to_the_cpu():
    used = []

    def compute(device):
        used.append(device)
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 7

    result, notes = base.on_device(compute, "mps")
    assert (result, used) == (7, ["mps", "cpu"])
    assert "the CPU was used" in notes[0]
    assert base.on_device(compute, "cpu") == (7, [])


def test_volumes_pass_from_stage_to_stage_unchanged(tmp_path):
    affine = np.array([[-0.9, 0.1, 0, 30], [0.1, 0.9, 0.2, -40], [0, -0.2, 1.1, 5], [0, 0, 0, 1]])
    for dtype in (torch.float32, torch.int16, torch.uint8):
        data = torch.arange(4 * 5 * 6).reshape(4, 5, 6).to(dtype)
        back = base.load(base.save(Volume(data, affine), tmp_path / f"{dtype}.nii"))
        assert back.data.dtype == dtype
        assert torch.equal(back.data, data)
        np.testing.assert_allclose(back.affine, affine, atol=1e-6)


def test_masks_of_an_odd_volume_are_noted():
    assert doctest.testmod(skullstrip_node).failed == 0


@pytest.mark.parametrize("population, noted", [("adult", False), ("fetal", True)])
def test_an_effort_that_a_population_does_not_have_is_noted(stages, tmp_path, monkeypatch, population, noted):
    stages.install(monkeypatch.setattr)
    used, participant_session = [], stages.participant_session(tmp_path)

    def segment(volume, mask, population, **options):
        used.append(options["effort"])
        return stages.segmentation_of(volume, mask)

    monkeypatch.setattr(segmentation, "segment", segment)
    files = {
        "in_file": participant_session.inputs["in_preproc"],
        "in_mask": participant_session.inputs["in_mask"],
    }
    interface = Segment(**files, population=population, effort="accurate")
    node = pe.Node(interface, name="segmentation", base_dir=str(tmp_path / "node"))
    notes = node.run().outputs.notes
    assert used == ["fast" if noted else "accurate"]
    assert any("--effort accurate is not available for fetal" in note for note in notes) == noted


@pytest.mark.parametrize("population", ["adult", "fetal"])
def test_the_methods_text_is_the_populations(population):
    record = populations.load(population)
    workflow = init_segmentation_wf(population=population)
    assert workflow.visit_desc() == methods.segmentation(record)
    assert init_skullstrip_wf(population=population).visit_desc() == methods.skullstrip(record)
    text = init_registration_wf(population=population, velocity=record.velocity).visit_desc()
    assert methods.deformation(record, bool(record.velocity)) in text
    quality = init_quality_wf(expected_dice=record.expected_dice).visit_desc()
    assert ("Dice" in quality) == record.expected_dice


def test_headers_that_agree_are_not_noted(nifti, tmp_path):
    assert notes_on(nib.load(nifti(tmp_path / "a.nii.gz"))) == []


def test_methods_of_a_run_do_not_say_that_every_age_was_estimated():
    assert "Where it was not known, the age was estimated" in init_growth_wf(population="fetal").__desc__
    assert not init_growth_wf(population="fetal", age=27.0).__desc__
