"""Training on images with labels: cases, split, samplers, losses, and a network that the chain can use."""

import json
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.models.errors import InputError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import purpose, zoo
from brainseg.models.population import labels
from brainseg.models.segmentation.own import labels as own
from brainseg.training.core import lightning
from brainseg.training.data import tiff_slices
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.supervised import cases, prepare, samplers, split
from brainseg.training.supervised import recipe as recipe_module
from helpers import labeled_images

RECIPE = """
name: mine
kind: supervised
network: SliceUNet
architecture: {channels: [8, 16]}
inputs: {sampler: slices, axes: [2], margin: 3}
losses: {cross-entropy: 1.0, dice: 1.0}
stages:
  - {until: 1.0, shape: [24, 24], spacing: 3.0}
generator: {flip: 0.5}
table: dseg
batch: 8
repeat: 8
minutes: 0.05
rate: 2.0e-2
checkpoint_seconds: 100
loggers: []
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text(labeled_images.TABLE)
    return path


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


STILL = {"rotation": 0.0, "scaling": 0.0}
"""No change of shape, which the frame cascade needs."""


def _stage(spacing):
    return {"until": 1.0, "shape": [64, 64, 64], "spacing": spacing}


def _spec(**changes):
    name = "labels-slices" if changes.get("sampler") == "slices" else "labels"
    return registry.read(name, {"inputs": {"sampler": "patches", "margin": 3} | changes}).inputs


def test_cases_of_a_folder(tmp_path):
    root = labeled_images.write(tmp_path / "a", 2, ("T1w", "FLAIR"))
    found = cases.find(root, ["FLAIR", "T1w"])
    assert [case.name for case in found] == ["sub-00", "sub-01"]
    assert [path.name for path in found[0].images] == ["sub-00_FLAIR.nii.gz", "sub-00_T1w.nii.gz"]
    with pytest.raises(InputError, match="0 images T2w belong to it"):
        cases.find(root, ["T2w"])
    with pytest.raises(UsageError, match="no images with labels"):
        cases.find(_empty(tmp_path), ["T1w"])
    masks = cases.find(labeled_images.write(tmp_path / "m", 2, mask=True), ["T1w"])
    assert all("lesion_mask" in case.labels.name and case.brain is not None for case in masks)


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_cases_of_a_table(tmp_path):
    root = labeled_images.write(tmp_path / "a", 2)
    rows = [f"a/sub-0{k}/anat/sub-0{k}_T1w.nii.gz\ta/sub-0{k}/anat/sub-0{k}_dseg.nii.gz" for k in (0, 1)]
    path = tmp_path / "pairs.tsv"
    path.write_text("image\tlabels\n" + "\n".join(rows) + "\n")
    found = cases.find(path, ["T1w"])
    assert [case.participant for case in found] == ["sub-00", "sub-01"] and found[0].images[0].is_file()
    path.write_text("image\tlabels\n" + rows[0].replace("sub-00_T1w", "sub-09_T1w") + "\n")
    with pytest.raises(UsageError, match=r"line 2 of pairs\.tsv names it, but it does not exist"):
        cases.find(path, ["T1w"])
    path.write_text("image\tmask\n" + rows[0] + "\n")
    with pytest.raises(UsageError, match="line 2 has no labels"):
        cases.find(path, ["T1w"])
    assert root.is_dir()


def test_slices_as_tiff(tmp_path):
    root = labeled_images.write_slices(tmp_path / "t")
    (first, *_) = cases.find(root, ["pre", "FLAIR", "post"])
    channels, truth = tiff_slices.read(first.labels)
    _, labeled = labeled_images.ball(0)
    assert len(channels) == 3 and set(truth.data.unique().tolist()) == {0, 1}
    np.testing.assert_array_equal(truth.data.numpy().transpose(1, 0, 2), labeled[..., 4:20] == 3)
    upright = truth.canonical()
    assert upright.grid.shape == (24, 24, 16)
    (root / "CASE_0" / "CASE_0_9.tif").unlink()
    with pytest.raises(InputError, match=r"no slice CASE_0_9\.tif"):
        tiff_slices.read(first.labels)
    with pytest.raises(InputError, match="3 channels, and the network 4 contrasts"):
        prepare.read(cases.Case("b", "b", (root / "CASE_1",), root / "CASE_1"), ["a", "b", "c", "d"])


def test_the_split_keeps_participants_together_and_stands(tmp_path):
    known = [
        cases.Case(f"sub-{k:02d}_ses-{s}", f"sub-{k:02d}", (), tmp_path) for k in range(10) for s in (1, 2)
    ]
    parts = split.of(known, tmp_path)
    assert {part: len(some) for part, some in parts.items()} == {"training": 12, "validation": 4, "test": 4}
    people = [{case.participant for case in some} for some in parts.values()]
    assert not (people[0] & people[1]) and not (people[0] & people[2])
    again = split.of(list(reversed(known)), tmp_path)
    assert {c.name for c in again["test"]} == {c.name for c in parts["test"]}
    tested = {c.name for c in parts["test"]}
    validated = set()
    for fold in (1, 2, 3, 4):
        found = split.of(known, tmp_path / str(fold), tmp_path / split.NAME, folds=4, fold=fold)
        assert {c.name for c in found["test"]} == tested
        validated |= {c.participant for c in found["validation"]}
    assert len(validated) == 8, "every other participant validates once"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case\tpart\nsub-00\ttraining\n", "1 cases have no part, such as sub-01"),
        ("case\tpart\nsub-00\ttrain\nsub-01\ttest\n", "unknown part 'train' of sub-00"),
        ("name\tpart\nsub-00\ttraining\n", "no columns case and part"),
        ("case\tpart\nsub-00\ttest\nsub-01\ttest\n", "no case is left to train"),
    ],
)
def test_splits_that_do_not_fit(text, words, tmp_path):
    known = [cases.Case(f"sub-0{k}", f"sub-0{k}", (), tmp_path) for k in (0, 1)]
    (tmp_path / "s.tsv").write_text(text)
    with pytest.raises(UsageError, match=words):
        split.of(known, tmp_path / "o", tmp_path / "s.tsv")
    same = [cases.Case(f"sub-0_ses-{k}", "sub-0", (), tmp_path) for k in (0, 1)]
    (tmp_path / "s.tsv").write_text("case\tpart\nsub-0_ses-0\ttraining\nsub-0_ses-1\ttest\n")
    with pytest.raises(UsageError, match="sub-0 is in training and in another part"):
        split.of(same, tmp_path / "o", tmp_path / "s.tsv")


def test_labels_that_the_table_lacks_are_refused(tmp_path):
    (case, *_) = cases.find(labeled_images.write(tmp_path / "a", 1), ["T1w"])
    path = tmp_path / "two.tsv"
    path.write_text("index\tname\n2\tGM\n3\tWM\n")
    with pytest.raises(InputError, match=r"the labels 1 are not in the label table \(2, 3\)"):
        prepare.prepare([case], tmp_path / "x.npz", labels.own(str(path)), _spec(), 3.0)


def test_samplers(tmp_path, table):
    known = labels.own(str(table))
    found = cases.find(labeled_images.write(tmp_path / "a", 2), ["T1w"])
    prepare.prepare(found, tmp_path / "x.npz", known, _spec(), 3.0)
    arrays = samplers.load(tmp_path / "x.npz", known)
    torch.manual_seed(0)
    rare = _spec(weights={0: 0, 1: 1, 2: 0, 3: 0})
    for _ in range(5):
        (example,) = samplers.Sampler(arrays, known, rare, [8, 8, 8]).examples()
        truth = example.targets["structure"]
        assert example.x.shape == (1, 1, 8, 8, 8) and truth.shape == (1, 8, 8, 8)
        assert bool((truth[0, 1:7, 1:7, 1:7] == 1).any()), "patches are drawn around label 1"
        assert bool((example.x[truth[:, None] == 0].abs() < 1e-3).all()), "image and labels match"
    (whole,) = samplers.Sampler(arrays, known, _spec(sampler="volumes"), [32, 32, 32]).examples(0)
    assert int((whole.targets["structure"] > 0).sum()) == int((arrays[0].truth > 0).sum())
    flat = _spec(sampler="slices", axes=[0, 1, 2])
    for example in samplers.Sampler(arrays, known, flat, [24, 24], repeat=4).examples():
        assert example.x.shape == (1, 1, 24, 24, 1) and bool((example.targets["structure"] > 0).any())
    other = tmp_path / "other.tsv"
    other.write_text("index\tname\n1\tA\n2\tB\n")
    with pytest.raises(UsageError, match="prepared for other labels"):
        samplers.load(tmp_path / "x.npz", labels.own(str(other)))


def test_sides_change_places_in_mirror_images(tmp_path):
    path = tmp_path / "sides.tsv"
    path.write_text("index\tname\n1\tLeft-Half\n2\tRight-Half\n")
    known = labels.own(str(path))
    truth = torch.zeros(8, 8, 8, dtype=torch.uint8)
    truth[:4], truth[4:] = 2, 1
    arrays = [samplers.Arrays(truth[None].float(), truth, None)]
    for axes, mirrored in (([2], True), ([0], False)):
        spec = _spec(sampler="slices", axes=axes)
        (example,) = samplers.Sampler(arrays, known, spec, [8, 8], flip=1.0).examples()
        found = example.targets["structure"][0, ..., 0]
        assert bool((found[:4] == 2).all()) == (mirrored or bool((found == 2).all()))
        if axes == [0]:
            assert found.unique().numel() == 1, "a slice of one side keeps it"
            assert bool((example.x[0, 0, ..., 0] == found).all())
    # front and back never change places
    ramp = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 8, 8, 8).contiguous()
    sampler = samplers.Sampler([samplers.Arrays(ramp, truth, None)], known, spec, [8, 8], flip=1.0)
    assert bool((sampler.examples()[0].x[0, 0, :, 0, 0].diff() > 0).all())


def test_mirror_images_need_labels_of_both_sides(tmp_path):
    path = tmp_path / "left.tsv"
    path.write_text("index\tname\n1\tLeft-Hippocampus\n2\tStem\n")
    with pytest.raises(UsageError, match="no label for the other side of Left-Hippocampus") as caught:
        registry.read("labels", {"table": str(path)})
    assert "set flip to 0" in caught.value.remedy
    registry.read("labels", {"table": str(path), "generator": {"flip": 0.0}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {"sampler": "cubes"}}, "unknown sampler 'cubes'"),
        ({"inputs": {"colour": 1}}, "inputs: unknown colour"),
        ({"inputs": {"sampler": "slices"}}, "StemUNet sees volumes or patches"),
        ({"network": "LinkNet"}, "LinkNet has no labels of its own"),
        ({"network": "UNETR", "inputs": {"sampler": "volumes"}}, "UNETR sees windows of one size"),
        ({"losses": {"hinge": 1}}, "losses: unknown hinge"),
        ({"generator": {"twist": 1}}, "generator: unknown twist"),
        ({"architecture": {"inputs": 7}}, "inputs is 7, but inputs and label table need 1"),
        ({"inputs": {"frame": "cascade"}}, "would move the image off its coordinates"),
        ({"inputs": {"weights": {9: 1}}}, r"weights of \[9\], which are not in the table"),
        ({"class_weights": {9: 1}}, "9 are not in the table"),
        ({"table": "nowhere"}, "table: unknown nowhere"),
        ({"stages": [_stage("native")]}, "stage 1: spacing native"),
        ({"stages": [_stage([1.0, 1.5])]}, r"stage 1: spacing \[1.0, 1.5\]"),
        ({"stages": [_stage(0)]}, "stage 1: spacing 0"),
        ({"stages": [_stage("acquired")]}, "rotation, scaling would interpolate the image"),
        ({"stages": [_stage("acquired")], "inputs": {"frame": "cascade"}, "generator": STILL}, "acquired"),
    ],
)
def test_recipes_that_do_not_fit(changes, words):
    with pytest.raises(UsageError, match=words):
        registry.read("labels", changes)


def test_shipped_recipes_are_complete():
    for name in ("labels", "labels-slices", "labels-fine-tuning"):
        found = registry.read(name)
        assert purpose.outputs(found.network, found.architecture) == {"structure": 4}
    tuned = registry.read("labels-fine-tuning").architecture
    assert tuned["merge"]["structure"][0] == [0] and sum(map(len, tuned["merge"]["structure"])) == 19


def test_a_label_without_counterpart_gets_outputs_of_its_own(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("index\tname\ttissue\n1\tGM\tgm\n2\tWM\twm\n3\tTumor\tn/a\n")
    found = registry.read("labels-fine-tuning", {"table": str(path)}).architecture
    groups = found["merge"]["structure"]
    assert groups[3] == [19] and found["tasks"]["structure"]["outputs"] == 20
    network = zoo.ARCHITECTURES["StemUNet"](**found | {"channels": [4, 4]})
    prior = torch.full((1, 19, 4, 4, 4), 1 / 19)
    full, low = network(torch.rand(1, 4, 8, 8, 8), prior)["structure"]
    assert full.shape == (1, 4, 8, 8, 8) and low.shape == (1, 4, 4, 4, 4)


def test_a_network_of_the_same_labels_goes_on_with_its_outputs(monkeypatch):
    first = registry.read("labels-fine-tuning")
    rows = labels.as_rows(labels.own("dseg"))
    made = {"class": "StemUNet", "arguments": first.architecture}
    card = {"name": "mine", "kind": "supervised", "use": "labels", "labels": rows, "architecture": made}
    real = recipe_module._card
    monkeypatch.setattr(
        recipe_module, "_card", lambda key, name, path: card if key == "start" else real(key, name, path)
    )
    assert registry.read("labels-fine-tuning", {"start": "mine"}).architecture == first.architecture


@pytest.mark.slow
def test_one_command_trains_a_network_that_labels_images(tmp_path, recipe, table, capsys, monkeypatch):
    root, out = labeled_images.write(tmp_path / "images", 6), tmp_path / "out"
    command = ["train", recipe, "--maps", root, "--table", table, "--out", out, "--threads", 1]
    command = [*map(str, command), "--device", "cpu"]
    assert main.main(command) == 0
    said = capsys.readouterr().out
    assert "cases: 4 training, 1 validation, 1 test" in said
    path = out / "mine.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["kind"] == "supervised" and card["use"] == "labels" and card["label_table"] == "mine"
    assert card["inputs"]["bias"] == "acquired", "images train as they are"
    assert [row["name"] for row in card["labels"]] == ["Background", "CSF", "GM", "WM"]
    assert card["training_data"] == "images (4)" and card["license"] == "not stated (yours)"
    scores = next(iter(card["scores"].values()))
    assert scores["GM"] > 0.8 and scores["WM"] > 0.8
    assert (out / "validation.png").is_file()
    assert (out / "split.tsv").read_text().count("training") == 4
    # once more: nothing is prepared again
    assert main.main(command) == 0
    assert "preparing" not in capsys.readouterr().out
    purpose.check(str(path), "labels")
    image, truth = labeled_images.ball(99)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    scan = Volume(torch.from_numpy(image), affine)
    found = own.segment(scan, scan.with_data(torch.from_numpy((truth > 0).astype(np.uint8))), str(path))
    assert ((found.labels.data.numpy() == truth)[truth > 0]).mean() > 0.8
    assert found.dseg is not None and set(found.dseg.data.unique().tolist()) <= {0, 1, 2, 3}
    # other labels, prepared again
    table.write_text(labeled_images.TABLE.replace("CSF\tcsf", "Fluid\tcsf"))
    labels.own.cache_clear()
    assert main.main([*command[:-6], "--out", str(out), "--threads", "1", "--device", "cpu"]) == 0
    assert "preparing" in capsys.readouterr().out


@pytest.mark.slow
def test_lesion_masks_and_slices_train_too(tmp_path):
    changes = {"minutes": 0.004, "inputs": {"sampler": "slices", "axes": [2], "use": "lesion", "margin": 3}}
    table = tmp_path / "lesion.tsv"
    table.write_text("index\tname\n1\tLesion\n")
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    found = registry.read(path, changes | {"table": str(table)})
    root = labeled_images.write(tmp_path / "images", 3, mask=True)
    run = assemble(found, Data(maps=root), tmp_path / "out")
    assert len(run.cases) == 2 and len(run.held_out) == 1
    assert run.card()["use"] == "lesion" and purpose.purpose_of(run.card()) == "lesion"
    three = {"contrasts": ["pre", "FLAIR", "post"]}
    sliced = registry.read(path, changes | {"table": str(table), "inputs": changes["inputs"] | three})
    run = assemble(sliced, Data(maps=labeled_images.write_slices(tmp_path / "t")), tmp_path / "out2")
    example = run.source().examples()[0]
    assert example.x.shape[1] == 3
    loss = run.losses(run.forward(example), example.targets)
    assert set(loss) == {"cross-entropy", "dice"} and all(bool(v.isfinite()) for v in loss.values())


@pytest.mark.slow
def test_a_compiled_network_trains_and_is_saved_as_the_plain_one(tmp_path, recipe, table, monkeypatch):
    root, out = labeled_images.write(tmp_path / "images", 2), tmp_path / "out"
    # traced, but without machine code, which takes a minute to make
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    small = {"inputs": {"sampler": "slices", "axes": [2], "margin": 3}, "batch": 2, "repeat": 2}
    found = registry.read(recipe, small | {"table": str(table), "compile": True, "minutes": 1e-4})
    path = lightning.train(assemble(found, Data(maps=root), out))
    assert zoo.load(str(path)).card["steps"] >= 1
    monkeypatch.setattr(lightning.shutil, "which", lambda name: None)
    run = assemble(replace(found, minutes=1), Data(maps=root), tmp_path / "out2")
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        lightning.train(run)


def test_folds_need_their_number(tmp_path, recipe, table):
    root = labeled_images.write(tmp_path / "images", 2)
    found = registry.read(recipe, {"table": str(table), "folds": 2})
    with pytest.raises(UsageError, match="Give --fold 1 to 2"):
        assemble(found, Data(maps=root), tmp_path / "out")
    run = assemble(found, Data(maps=root, fold=2), tmp_path / "out")
    assert len(run.cases) == 1 and len(run.held_out) == 1
    plain = registry.read(recipe, {"table": str(table)})
    with pytest.raises(UsageError, match="omit --fold"):
        assemble(plain, Data(maps=root, fold=1), tmp_path / "out3")


def test_images_are_changed_with_their_labels():
    augmentation = pytest.importorskip("brainseg.training.supervised.augmentation")
    from brainseg.training.supervised.ranges import Ranges

    image, labeled = labeled_images.ball(0)
    x, truth = torch.from_numpy(image / 1000)[None], torch.from_numpy(labeled.astype(np.int64))
    torch.manual_seed(3)
    change = augmentation.Augmentation(Ranges(rotation=20, scaling=0.2, bias=0, gamma=0, noise=0), 1)
    moved, classes = change(x, truth)
    assert moved.shape == x.shape and classes.shape == truth.shape and classes.dtype == torch.long
    assert not torch.equal(classes, truth), "the shape changed"
    level = {k: float(moved[0][classes == k].median()) for k in (1, 2, 3)}
    assert level[1] == pytest.approx(0.2, abs=0.15) and level[3] == pytest.approx(1.0, abs=0.15)
    torch.manual_seed(3)
    assert torch.equal(change(x, truth)[1], classes), "the random numbers are torch's"
    still = augmentation.Augmentation(Ranges(rotation=0, scaling=0, bias=1, gamma=1, noise=0.1), 1)
    other, same = still(x, truth)
    assert torch.equal(same, truth) and not torch.allclose(other, x)
    assert bool((other[0][truth == 0].abs() < 1e-5).float().mean() > 0.9), "the background stays"
    flat, plane = change(x[..., 12:13], truth[..., 12:13])
    assert flat.shape == (1, 24, 24, 1) and plane.shape == (24, 24, 1)


def test_a_nifti_label_image_of_another_grid(tmp_path, table):
    (case, *_) = cases.find(labeled_images.write(tmp_path / "a", 1), ["T1w"])
    known = labels.own(str(table))
    image = nib.load(case.labels)
    moved = image.affine.copy()
    moved[:3, 3] = 500
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), case.labels)
    with pytest.raises(InputError, match="labels"):
        prepare.prepare([case], tmp_path / "x.npz", known, _spec(), 3.0)


def rotation(degrees):
    """Return the matrix of a rotation in the plane."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _cut(data):
    """Return the box of what is not zero."""
    index = np.argwhere(data)
    return data[tuple(slice(low, high + 1) for low, high in zip(index.min(0), index.max(0), strict=True))]


@pytest.mark.parametrize("degrees", [0.0, 12.0])
@pytest.mark.parametrize("sizes", [(0.9, 2.0, 1.3), (-1.1, 0.8, -0.8371)])
def test_networks_on_acquired_voxels_see_what_the_scanner_gave(sizes, degrees, tmp_path, table):
    """Nothing is interpolated, in images of any voxel size and orientation, oblique ones as well."""
    (case, *_) = cases.find(labeled_images.write(tmp_path / "a", 1), ["T1w"])
    turn = np.eye(4)
    turn[1:3, 1:3] = rotation(degrees)
    affine = turn @ np.diag([*sizes, 1.0])
    affine[:3, 3] = 3.3, -20.2, 7.7
    given = []
    for path in (case.labels, case.images[0]):
        data = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(data, affine), path)
        given.append(_cut(data[tuple(slice(None, None, 1 if size > 0 else -1) for size in sizes)]))
    spec = _spec(normalize="unit", margin=0)
    prepare.prepare([case], tmp_path / "x.npz", labels.own(str(table)), spec, "acquired")
    with np.load(tmp_path / "x.npz") as arrays:
        truth, image = _cut(arrays["truth0"]), _cut(arrays["x0"][0])
    np.testing.assert_array_equal(truth, given[0])
    inside = (image > 0.05) & (image < 0.95)
    # The intensities are scaled, and nothing else: they lie on a line.
    assert np.corrcoef(image[inside], given[1][inside])[0, 1] > 0.99999


def test_the_border_of_the_labels_is_not_told_to_the_network(tmp_path, table, monkeypatch):
    """A network of labels sees the brain mask of the chain, which holds more than its labels."""
    (case, *_) = cases.find(labeled_images.write(tmp_path / "a", 1), ["T1w"])
    known = labels.own(str(table))
    image = nib.load(case.images[0])
    brain = torch.from_numpy(np.asarray(image.dataobj) > 0)
    monkeypatch.setattr(prepare, "_found", lambda case, image: torch.ones_like(brain))
    prepare.prepare([case], tmp_path / "whole.npz", known, _spec(), 3.0)
    monkeypatch.setattr(prepare, "_found", lambda case, image: torch.from_numpy(read_truth(case) > 0))
    prepare.prepare([case], tmp_path / "labels.npz", known, _spec(), 3.0)
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "labels.npz") as cut:
        assert np.prod(whole["x0"].shape) > np.prod(cut["x0"].shape)
        assert (whole["truth0"] > 0).sum() == (cut["truth0"] > 0).sum()


def read_truth(case):
    """The labels of a case."""
    return np.asarray(nib.load(case.labels).dataobj)
