"""Networks of a user that see the program's own tissues beside the image."""

import re
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.interfaces import own_labels
from brainseg.interfaces.io import derivatives
from brainseg.interfaces.own_labels import SegmentOwnLabels
from brainseg.models.errors import InputError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.pipeline import methods, process
from brainseg.models.population import populations
from brainseg.models.segmentation.own import labels as own
from brainseg.models.segmentation.own import tissues
from brainseg.training.core.example import Example
from brainseg.training.kinds import registry, supervised
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.supervised import prepare
from helpers import labeled_images, own_networks
from helpers.graphs import participant_wf

INPUTS = {"sampler": "slices", "axes": [2], "margin": 4.0, "bias": "acquired", "tissues": "adult"}
FLUID = [{"index": 7, "name": "Inner-Fluid"}]


def network(folder):
    """Return a network that calls ventricles what the program calls so."""
    return str(own_networks.make(folder, "fluid", FLUID, dark=1, other=0, gain=-4.0, inputs=INPUTS))


def brain():
    """Return a scan, its mask, the program's tissues and structures: a ventricle in the middle."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    mask = torch.zeros(20, 24, 20)
    mask[2:18, 2:22, 2:18] = 1
    structures = (mask * 2).to(torch.int16)
    structures[6:14, 8:16, 8:14] = 4
    scan = mask * 100 + torch.arange(20.0)[:, None, None]
    found = {name: mask * share for name, share in (("GM", 0.3), ("WM", 0.6), ("CSF", 0.1))}
    volumes = {name: Volume(data, affine) for name, data in found.items()}
    return Volume(scan, affine), Volume(mask.to(torch.uint8), affine), volumes, Volume(structures, affine)


def test_the_channels_are_the_tissues_and_the_ventricles():
    _, _, probabilities, structures = brain()
    found = tissues.channels(probabilities, structures)
    assert len(found) == len(tissues.CHANNELS) == 4
    for name, volume in zip(tissues.CHANNELS, found, strict=True):
        wanted = structures.data == 4 if name == "ventricles" else probabilities[name].data
        torch.testing.assert_close(volume.data, wanted.float())


def test_a_network_sees_the_tissues_on_its_own_grid(tmp_path):
    scan, mask, probabilities, structures = brain()
    given = tissues.channels(probabilities, structures)
    found = own.segment(scan, mask, network(tmp_path), tissues=given)
    assert bool(((found.labels.data == 7) == (structures.data == 4)).all())
    with pytest.raises(InputError, match="sees the tissues of the program's own segmentation") as caught:
        own.segment(scan, mask, network(tmp_path))
    assert "brainseg segment --model" in caught.value.remedy


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "of weights that its card does not name"),
        ("0123456789", r"of other weights \(01234567\)"),
        ("now", ""),
    ],
)
def test_tissues_of_other_weights_than_in_training_are_told(seen, words, tmp_path):
    """The weights are those of the population of the run, whatever population the network learned with."""
    now = tissues.weights("adult")
    card = {tissues.SEEN: now if seen == "now" else seen}
    path = str(own_networks.make(tmp_path, "fluid", FLUID, dark=1, other=0, inputs=INPUTS, **card))
    node = participant_wf(networks={"segmentation": path}).get_node("own_labels_wf.own_labels")
    assert node.inputs.tissues_by == populations.load("adult").segmentation
    told = tissues.other_weights(card | {"name": "fluid"}, node.inputs.tissues_by)
    wanted = f"fluid learned with the tissues {words}, and sees those of {now[:8]}" if words else "^$"
    assert re.search(wanted, told)


def test_networks_of_precomputed_and_of_other_tissues_have_a_note(tmp_path):
    scan, mask, probabilities, structures = brain()
    files = {}
    for name, volume in {"scan": scan, "mask": mask, "structures": structures, **probabilities}.items():
        files[name] = str(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), files[name])
    given = {"in_file": files["scan"], "in_mask": files["mask"], "in_structures": files["structures"]}
    given["in_probabilities"] = [files[name] for name in ("GM", "WM", "CSF")]
    for more, words in (
        ({"tissues_by": "segmentation"}, "learned with"),
        ({"precomputed": True}, "precomputed"),
    ):
        notes = (
            SegmentOwnLabels(**given, **more, model=network(tmp_path)).run(cwd=str(tmp_path)).outputs.notes
        )
        assert len([note for note in notes if words in note]) == 1
        assert not [note for note in notes if "precomputed" in note and "learned" in note]


def test_the_chain_connects_the_segmentation_with_such_a_network_only(tmp_path):
    for path, wanted in (
        (network(tmp_path), {"in_structures", "in_probabilities"}),
        (str(own_networks.make(tmp_path)), set()),
    ):
        graph = participant_wf(networks={"segmentation": path})
        edges = graph._graph.edges(data=True)
        (about,) = [d for a, b, d in edges if (a.name, b.name) == ("conform_wf", "own_labels_wf")] or [{}]
        found = [d for a, b, d in edges if (a.name, b.name) == ("segmentation_wf", "own_labels_wf")]
        ends = {end.split(".")[-1] for d in found for _, end in d["connect"]}
        assert ends == wanted
        assert bool(about) == bool(wanted), "the one with tissues sees the image as acquired"
    given = {name: f"/fast/{name}.nii.gz" for name in ("GM", "WM", "CSF")} | {"dseg": "/fast/dseg.nii.gz"}
    graph = participant_wf(
        networks={"segmentation": network(tmp_path)}, precomputed=given, precomputed_uris=given
    )
    assert graph.get_node("own_labels_wf.own_labels").inputs.precomputed


def test_the_node_reads_them(tmp_path):
    scan, mask, probabilities, structures = brain()
    volumes = {"scan": scan, "mask": mask, "structures": structures} | probabilities
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in volumes}
    for name, volume in volumes.items():
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), files[name])
    shared = {"in_file": files["scan"], "in_mask": files["mask"], "in_structures": files["structures"]}
    shared |= {"in_probabilities": [files[name] for name in ("GM", "WM", "CSF")], "model": network(tmp_path)}
    found = SegmentOwnLabels(**shared).run(cwd=str(tmp_path)).outputs
    assert not [note for note in found.notes if "precomputed" in note]
    other = SegmentOwnLabels(**shared, precomputed=True).run(cwd=str(tmp_path)).outputs
    assert any("fluid saw precomputed tissues, and others in training" in note for note in other.notes)
    made = nib.load(found.out_file)
    there = np.asarray(nib.as_closest_canonical(made).dataobj) == 7
    np.testing.assert_array_equal(there, structures.data.numpy() == 4)


def test_one_image_alone_is_segmented_into_structures_first(tmp_path, monkeypatch):
    scan, mask, probabilities, structures = brain()
    seen = []

    def whole(image, population, **options):
        seen.append((population, options["skull_strip"]))
        segmentation = SimpleNamespace(probabilities=probabilities, structures=structures)
        return SimpleNamespace(brain=SimpleNamespace(mask=mask), corrected=image, segmentation=segmentation)

    monkeypatch.setattr(process, "process", whole)
    _, found = process.own_labels(scan, "adult", model=network(tmp_path), skull_strip="skip")
    assert seen == [("adult", "skip")]
    assert bool(((found.labels.data == 7) == (structures.data == 4)).all())


def test_the_sidecar_names_the_structures_as_a_source(tmp_path):
    scan = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    names = derivatives.Names(tmp_path / "out", tmp_path / "bids", scan, "sub-01")
    about = own_labels.sidecars(names, network(tmp_path), {"Sources": ["bids::corrected"]})
    sources = about["desc-fluid_dseg.nii.gz"]["Sources"]
    assert sources[-1] == "bids::sub-01/anat/sub-01_desc-aseg_dseg.nii.gz"
    assert names.raw in sources and "bids::corrected" not in sources, "it saw the image as acquired"


def test_the_methods_say_it(tmp_path):
    assert "in the image as acquired and in the tissues" in methods.own_labels(network(tmp_path))


RECIPE = {
    "architecture": {"channels": [4, 8]},
    "network": "SliceUNet",
    "inputs": {"sampler": "slices", "axes": [2], "margin": 3, "tissues": "adult"},
    "stages": [{"until": 1.0, "shape": [24, 24], "spacing": 3.0}],
    "generator": {"flip": 0.5, "gamma": 1.0, "bias": 1.0, "rotation": 10},
    "minutes": 1e-4,
}


@pytest.mark.slow
def test_training_sees_what_the_program_finds(tmp_path, monkeypatch):
    """The tissues of every image are those of the program; only the image changes its intensities."""
    asked = []

    def found(image, mask, record, region=None):
        asked.append(record.name)
        ones = image.with_data(torch.ones(image.grid.shape) * (mask.data > 0))
        halves = {name: ones.with_data(ones.data / 2) for name in ("GM", "WM", "CSF")}
        structures = image.with_data((ones.data * 4).to(torch.int16))
        return SimpleNamespace(probabilities=halves, structures=structures)

    monkeypatch.setattr(prepare.segmentation, "segment", found)
    monkeypatch.setattr(prepare.bias, "correct", lambda image, mask: (image, None))
    table = tmp_path / "mine.tsv"
    table.write_text(labeled_images.TABLE)
    recipe = registry.read("labels-slices", RECIPE | {"table": str(table)})
    assert recipe.architecture["inputs"] == 5
    root, out = labeled_images.write(tmp_path / "images", 2), tmp_path / "out"
    run = assemble(recipe, Data(maps=root), out)
    assert asked == ["adult"] * 2
    assemble(recipe, Data(maps=root), out)
    assert len(asked) == 2, "kept"
    assert run.card()[tissues.SEEN] == tissues.weights("adult")
    with monkeypatch.context() as other:  # another segmentation than that of the prepared images
        other.setattr(tissues, "weights", lambda population: "new")
        supervised.folder(recipe, root, out)
    assert len(asked) == 4, "prepared again"
    assert run.card()["inputs"]["tissues"] == "adult"
    assert run.card()[tissues.SEEN] == "new", "those of the arrays"
    (case, *_) = run.cases
    inside = case.x[4] > 0.99
    torch.testing.assert_close(
        case.x[1:4, inside], torch.full_like(case.x[1:4, inside], 0.5), atol=1e-3, rtol=0
    )
    for example in run.source().examples():
        assert isinstance(example, Example) and example.x.shape[1] == 5
        assert float(example.x[:, 1:].min()) >= 0 and float(example.x[:, 1:].max()) <= 1
        there = example.x[:, 4] > 0.99
        assert float((example.x[:, 1][there] - 0.5).abs().max()) < 0.01
    assert all(bool(value.isfinite()) for value in run.losses(run.forward(example), example.targets).values())


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"tissues": "martian"}, "inputs: tissues of 'martian'"),
        ({"tissues": "adult", "use": "lesion"}, "tissues are for labels of one contrast"),
        ({"tissues": "adult", "contrasts": ["T1w", "T2w"]}, "tissues are for labels of one contrast"),
    ],
)
def test_recipes_that_cannot_see_tissues(inputs, words):
    with pytest.raises(UsageError, match=words) as caught:
        registry.read("labels-slices", {"inputs": {"sampler": "slices", "axes": [2]} | inputs})
    if "martian" in str(inputs):
        assert "adult" in caught.value.remedy and set(populations.names()) >= {"adult"}
