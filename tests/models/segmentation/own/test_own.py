"""Networks of a user: inputs, labels and tissues on the scan's grid, and their files in the derivatives."""

import json
import re
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.reports import provenance
from brainseg.bidsapp.reports.derivatives import Result
from brainseg.interfaces.own_labels import SegmentOwnLabels
from brainseg.models.data import model_files
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.io import outputs
from brainseg.models.networks import zoo
from brainseg.models.pipeline import methods, process
from brainseg.models.population import labels
from brainseg.models.segmentation import lesion, signed_distance
from brainseg.models.segmentation.own import inputs as own_inputs
from brainseg.models.segmentation.own import labels as own
from helpers import own_networks
from helpers.graphs import participant_wf


def ball(stages) -> tuple[Volume, Volume]:
    data = stages.scan()
    scan = Volume(torch.from_numpy(data.astype(np.float32)), stages.affine())
    return scan, scan.with_data(torch.from_numpy(stages.mask_of(data)))


def test_labels_and_tissues_of_a_network_with_its_own_table(stages, tmp_path):
    scan, mask = ball(stages)
    found = own.segment(scan, mask, str(own_networks.make(tmp_path)))
    inside = mask.data > 0
    core = inside & (scan.data < 800)
    assert (found.labels.data[core] == 3).float().mean() > 0.95, "the dark core is label 3"
    assert (found.labels.data[inside & ~core] == 2).float().mean() > 0.95
    assert not bool((found.labels.data[~inside] != 0).any())
    assert found.dseg is not None
    # Label 3 is white matter (2 in a dseg), label 2 gray matter (1).
    assert set(found.dseg.data[core].unique().tolist()) <= {1, 2}
    assert (found.dseg.data[core] == 2).float().mean() > 0.95
    total = torch.stack([p.data for p in found.tissues.values()]).sum(0)
    assert total[inside].min() > 0.9 and total.max() <= 1.001 and float(total[~inside].max()) == 0
    voxel = scan.grid.voxel_volume
    assert found.volumes[3] == pytest.approx(float(core.sum()) * voxel, rel=0.15)
    assert set(found.volumes) == {1, 2, 3}


def test_labels_without_gray_and_white_matter_are_no_tissues(stages, tmp_path):
    scan, mask = ball(stages)
    rows = [{"index": 7, "name": "Core"}]
    found = own.segment(scan, mask, str(own_networks.make(tmp_path, "core", rows, dark=1, other=0)))
    assert found.dseg is None and found.tissues == {}
    assert set(found.labels.data.unique().tolist()) == {0, 7}


def test_several_networks_in_one_file(stages, tmp_path):
    scan, mask = ball(stages)
    network, arguments = own_networks.by_intensity(4, 3, 2)
    member = {"class": "SliceUNet", "arguments": arguments}
    state = {f"members.{k}.{key}": v for k in (0, 1) for key, v in network.state_dict().items()}
    single = own_networks.make(tmp_path)
    card = zoo.read_card(str(single)) | {"name": "both"}
    card["architecture"] = {"class": "Ensemble", "arguments": {"members": [member, member | {"axes": [0]}]}}
    path = zoo.save(tmp_path, state, card)
    one, both = (own.segment(scan, mask, str(p)) for p in (single, path))
    assert bool((one.labels.data == both.labels.data).float().mean() > 0.98)


def test_a_network_of_several_images(stages, tmp_path):
    scan, mask = ball(stages)
    inputs = {"sampler": "slices", "contrasts": ["FLAIR", "T1w"]}
    path = own_networks.make(tmp_path, inputs=inputs)
    with pytest.raises(InputError, match=r"needs 2 images \(FLAIR, T1w\)"):
        own.segment(scan, mask, str(path))
    flat = scan.with_data(scan.data * 0 + 7)
    core = (mask.data > 0) & (scan.data < 800)
    found = own.segment([flat, scan], mask, str(path)).labels.data
    assert (found[core] == 3).float().mean() > 0.95
    # as a node: the scan is one of the contrasts, the other comes from the coregistration
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in ("scan", "mask", "flat")}
    for name, volume in (("scan", scan), ("mask", mask), ("flat", flat)):
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), files[name])
    given = {"in_file": files["scan"], "in_mask": files["mask"], "model": str(path), "contrast": "T1w"}
    node = SegmentOwnLabels(**given, others=["FLAIR"], in_others=[files["flat"]])
    made = nib.as_closest_canonical(nib.load(node.run(cwd=str(tmp_path)).outputs.out_file))
    upright = scan.with_data(core.float()).canonical().data.numpy() > 0
    assert (np.asarray(made.dataobj)[upright] == 3).mean() > 0.95
    with pytest.raises(InputError, match="needs FLAIR and T1w, and there is no FLAIR image"):
        SegmentOwnLabels(**given).run(cwd=str(tmp_path))
    more = {"other_contrasts": ["/bids/sub-01/anat/sub-01_FLAIR.nii.gz"]}
    graph = participant_wf(networks={"segmentation": str(path)}, **more)
    assert graph.get_node("own_labels_wf.own_labels").inputs.others == ["FLAIR"]


SIDES = [
    {"index": 1, "name": "Left-Core"},
    {"index": 2, "name": "Rest"},
    {"index": 3, "name": "Right-Core"},
]


def lopsided(folder, labels=SIDES, **card):
    """Return a network that looks at the voxel on the left: dark ones have the label 1 there."""
    path = own_networks.make(folder, "lopsided", labels, dark=1, other=2, **card)
    loaded = zoo.load(str(path))
    weights = loaded.network.state_dict()
    weights["down.0.0.weight"] = weights["down.0.0.weight"].roll(-1, 2)
    return zoo.save(folder, weights, loaded.card)


def test_accurate_treats_both_sides_alike(tmp_path):
    path = lopsided(tmp_path)
    data = torch.zeros(16, 12, 12)
    data[2:14, 2:10, 2:10] = 1000
    data[3:7, 4:8, 4:8] = 300
    scan = Volume(data + 0.01 * torch.arange(data.numel()).reshape(data.shape), np.diag([4.0, 4, 4, 1]))
    mask = scan.with_data((data > 0).to(torch.uint8))
    turned, turned_mask = (one.with_data(one.data.flip(0)) for one in (scan, mask))
    fast, accurate, mirrored = (
        own.probabilities([one], brain, str(path), effort=effort).data
        for one, brain, effort in (
            (scan, mask, "fast"),
            (scan, mask, "accurate"),
            (turned, turned_mask, "accurate"),
        )
    )
    exchanged = mirrored[[0, 3, 2, 1]].flip(1)
    torch.testing.assert_close(accurate, exchanged, atol=1e-3, rtol=0)
    assert float((fast - exchanged).abs().max()) > 0.3
    assert float(accurate.sum(0).sub(1).abs().max()) < 1e-4
    # the chain passes the option on
    graph = participant_wf(networks={"segmentation": str(path)}, effort="accurate")
    assert graph.get_node("own_labels_wf.own_labels").inputs.effort == "accurate"
    words = "mean over the image and its mirror image"
    assert words in methods.own_labels(str(path), "accurate")
    assert words not in methods.own_labels(str(path))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"flip": 0.0}, r"trained without mirror images \(flip: 0\)"),
        ({"labels": SIDES[:2] + [{"index": 3, "name": "Other"}]}, "no label for the other side of Left-Core"),
    ],
)
def test_no_mirror_image_where_it_would_be_wrong(stages, tmp_path, card, words):
    scan, mask = ball(stages)
    path = str(lopsided(tmp_path, **card))
    fast, accurate = (own.segment(scan, mask, path, effort=effort) for effort in ("fast", "accurate"))
    assert bool((fast.labels.data == accurate.labels.data).all()) and fast.notes == []
    (note,) = accurate.notes
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in ("scan", "mask")}
    for name, volume in (("scan", scan), ("mask", mask)):
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), files[name])
    node = SegmentOwnLabels(in_file=files["scan"], in_mask=files["mask"], model=path, effort="accurate")
    assert note in node.run(cwd=str(tmp_path)).outputs.notes
    assert re.search(f"lopsided was not averaged with the mirror image: .*{words}", note)
    assert "mirror" not in methods.own_labels(path, "accurate")


def test_the_mirror_image_of_a_cascade_has_other_coordinates():
    x = torch.arange(4.0 * 2 * 1 * 1).reshape(4, 2, 1, 1)
    made = own_inputs.Inputs(Grid((2, 1, 1), np.eye(4)), x, x[:2].clone())
    found = own.mirrored(made, coordinates=True)
    assert found.x[:, :, 0, 0].tolist() == [[1, 0], [-3, -2], [5, 4], [7, 6]]
    assert found.prior[:, :, 0, 0].tolist() == [[1, 0], [3, 2]]
    assert own.mirrored(made, coordinates=False).x[1, :, 0, 0].tolist() == [3, 2]


def test_a_network_needs_a_mask(stages, tmp_path):
    scan, mask = ball(stages)
    one = own_networks.make(tmp_path, "one")
    with pytest.raises(InputError, match="mask is empty"):
        own.segment(scan, mask.with_data(mask.data * 0), str(one))


@pytest.mark.parametrize("spacing", [4.0, 1.0, [2.0, 5.0, 2.0]])
def test_the_box_covers_the_brain_and_keeps_voxels_of_its_size(stages, spacing):
    _, mask = ball(stages)
    grid = own_inputs.box_grid(mask, spacing, 3.0)
    corners = mask.affine[:3, :3] @ np.argwhere(mask.data.numpy() > 0).T + mask.affine[:3, 3:]
    ends = grid.corners()
    assert (ends.min(0) <= corners.min(1)).all() and (ends.max(0) >= corners.max(1)).all()
    np.testing.assert_allclose(grid.spacing, np.broadcast_to(spacing, 3))
    if spacing == 4.0:
        steps = (grid.affine[:3, 3] - mask.affine[:3, 3]) / 4
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


def test_a_grid_for_a_stride_keeps_its_voxels(stages):
    _, mask = ball(stages)
    grid = own_inputs.box_grid(mask, [4.0, 5.0, 4.0], 3.0)
    wide = own_inputs._multiple(grid, 16)
    assert all(n % 16 == 0 for n in wide.shape) and wide.shape >= grid.shape
    steps = np.linalg.inv(wide.affine) @ grid.affine[:, 3]
    np.testing.assert_allclose(steps[:3], np.round(steps[:3]), atol=1e-6)
    ends = wide.corners()
    assert (ends.min(0) <= grid.corners().min(0) + 1e-6).all() and (
        ends.max(0) >= grid.corners().max(0)
    ).all()


def test_a_lesion_network_of_a_user(stages, tmp_path):
    scan, mask = ball(stages)
    rows = [{"index": 1, "name": "Lesion"}]
    path = own_networks.make(tmp_path, "spots", rows, dark=1, other=0, use="lesion")
    found = lesion.find(scan, mask, model=str(path))
    core = (mask.data > 0) & (scan.data < 800)
    both = float((found.mask.data.bool() & core).sum())
    assert 2 * both / float(found.mask.data.sum() + core.sum()) > 0.9 and len(found.lesions) == 1


def test_a_mask_network_of_a_user(stages, tmp_path, monkeypatch):
    from dataclasses import replace

    from brainseg.models.localization import head
    from brainseg.models.population import populations

    scan, mask = ball(stages)
    rows = [{"index": 1, "name": "Brain"}]
    # All but the dark is brain: the dark is the background.
    inputs = {"sampler": "slices", "axes": [2], "normalize": "zscore"}
    path = own_networks.make(tmp_path, "shell", rows, dark=0, other=1, use="mask", inputs=inputs)
    distance = Volume(mask.data.float() * 20 - 10, mask.affine)
    coarse = head.Coarse.__new__(head.Coarse)
    object.__setattr__(coarse, "distance", distance)
    record = replace(populations.load("adult"), skullstrip=str(path))
    found = signed_distance.refine(scan, coarse, record, "cpu")
    assert found.data.shape and bool((found.data > 0).any())


def test_references_to_weights_hold_their_digest(tmp_path):
    path = own_networks.make(tmp_path)
    reference = model_files.pinned(str(path))
    assert model_files.title(reference) == "mine" and model_files.read_card(reference)["name"] == "mine"
    assert zoo.load(reference).card["sha256"] in reference
    other = own_networks.make(tmp_path, dark=1)
    assert other == path
    with pytest.raises(zoo.ModelError, match="has changed since the run began"):
        zoo.load(reference)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_the_chain_writes_labels_and_tissues(stages, tmp_path, monkeypatch, whole):
    stages.install(monkeypatch.setattr)
    unit = stages.participant_session(tmp_path)
    rows = None if whole else [{"index": 7, "name": "Core", "color": "#102030"}]
    made = {} if whole else {"dark": 1, "other": 0}
    path = own_networks.make(tmp_path / "networks", "my-labels", rows, **made)
    workflow = participant_wf(unit, networks={"segmentation": model_files.pinned(str(path))})
    digest = zoo.read_card(str(path))["sha256"]
    text = workflow.visit_desc()
    assert digest in text and "two scans of mine" in text
    assert ("sums of their probabilities" in text) == whole
    workflow.base_dir = str(tmp_path / "w")
    workflow.config["execution"] = {"create_report": "false", "remove_unnecessary_outputs": "false"}
    workflow.run(plugin="Linear")
    folder = unit.out / "sub-01" / "anat"
    stem = "sub-01_desc-mylabels"
    labeled = nib.load(folder / f"{stem}_dseg.nii.gz")
    source = nib.load(unit.source)
    np.testing.assert_array_equal(labeled.affine, source.affine)
    values = np.asarray(labeled.dataobj)
    assert set(np.unique(values)) <= ({0, 2, 3} if whole else {0, 7}) and labeled.get_data_dtype() == np.int16
    about = json.loads((folder / f"{stem}_dseg.json").read_text())
    assert about["Network"] == {
        "Name": "my-labels",
        "SHA256": digest,
        "TrainingData": "two scans of mine",
        "License": "CC0-1.0",
    }
    table = (folder / f"{stem}_volumes.tsv").read_text().splitlines()
    assert table[0].split("\t") == ["index", "name", "volume_mm3", "label_volume_mm3"]
    assert len(table) == 1 + (3 if whole else 1)
    dseg = np.asarray(nib.load(folder / "sub-01_dseg.nii.gz").dataobj)
    structures = np.asarray(nib.load(folder / "sub-01_desc-aseg_dseg.nii.gz").dataobj)
    of_structures = labels.load("adult").lookup("dseg")[structures]
    sidecar = json.loads((folder / "sub-01_dseg.json").read_text())
    if whole:
        lookup = np.array([0, 3, 1, 2])
        assert (dseg == lookup[values])[values > 0].mean() > 0.95
        assert sidecar["Network"]["SHA256"] == digest
        white = np.asarray(nib.load(folder / "sub-01_label-WM_probseg.nii.gz").dataobj)
        assert white[values == 3].mean() > 0.8 and white[values == 2].mean() < 0.2
    else:
        np.testing.assert_array_equal(dseg, of_structures)
        assert "Network" not in sidecar
    notes = json.loads((folder / "sub-01_desc-aseg_volumes.json").read_text())["Notes"]
    assert any("The network my-labels segmented" in note for note in notes)
    assert outputs.find("desc-mylabels_dseg.nii.gz").id == "own_labels"


def test_cards_stay_with_the_derivatives(tmp_path):
    from brainseg.bidsapp.config import networks
    from brainseg.bidsapp.config.settings import Settings
    from brainseg.bidsapp.status import cards

    path = own_networks.make(tmp_path / "networks")
    settings = Settings(tmp_path, tmp_path / "out", ("participant",), network=(f"segmentation={path}",))
    cards.keep(settings, tmp_path / "out")
    status = {"population": "adult", "settings": {"network": networks.digests(settings.networks)}}
    for ending in (".json", ".safetensors"):
        path.with_suffix(ending).unlink()
    shown = provenance.cards(Result(tmp_path / "out", "sub-01", status))
    mine = next(card for card in shown if card["name"] == "mine")
    assert ("Training data", "two scans of mine") in mine["facts"]
    assert any(card["name"] == "segmentation" for card in shown), "it still makes the structures"


def _connections(graph, end):
    """Return what is connected to a stage: (source, output)."""
    return {
        (source.name, output)
        for source, target, about in graph._graph.edges(data=True)
        if target.name == end
        for output, _ in about["connect"]
    }


@pytest.mark.parametrize("seen", [None, "corrected", "acquired"])
def test_a_network_gets_the_images_that_its_card_names(stages, tmp_path, monkeypatch, seen):
    inputs = {"sampler": "slices", "axes": [2], "margin": 4.0, "contrasts": ["T1w", "FLAIR"]}
    path = own_networks.make(tmp_path, inputs=inputs | ({"bias": seen} if seen else {}))
    others = {"other_contrasts": ["/bids/sub-01/anat/sub-01_FLAIR.nii.gz"]}
    found = _connections(participant_wf(networks={"segmentation": str(path)}, **others), "own_labels_wf")
    acquired = {("conform_wf", "outputnode.out_file"), ("coregistration_wf", "outputnode.out_uncorrected")}
    corrected = {("bias_wf", "outputnode.out_file"), ("coregistration_wf", "outputnode.out_files")}
    wanted, other = (acquired, corrected) if seen == "acquired" else (corrected, acquired)
    assert wanted <= found and not other & found
    assert ("in the image as acquired" in methods.own_labels(str(path))) == (seen == "acquired")
    # the same for single files
    single = own_networks.make(tmp_path / "single", inputs={"bias": seen} if seen else {})
    scan, mask = ball(stages)
    calls = []
    monkeypatch.setattr(process.bias, "correct", lambda volume, mask: calls.append(1) or (volume, volume))
    monkeypatch.setattr(process.skullstrip, "skullstrip", lambda *_, **__: SimpleNamespace(mask=mask))
    process.own_labels(scan, model=str(single))
    assert len(calls) == (seen != "acquired")
