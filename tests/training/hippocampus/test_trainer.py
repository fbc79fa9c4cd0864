"""The split, the crops and the trainer of the hippocampus's networks, on sausages in noise."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.hippocampus import hippocampus as models_hippocampus
from brainseg.models.hippocampus.hippocampus import Parts
from brainseg.models.networks import zoo
from brainseg.training.core.lightning import Task, train
from brainseg.training.hippocampus import generator as hippocampus
from brainseg.training.hippocampus import prepare
from brainseg.training.hippocampus.trainer import HippocampusTrainer, HippocampusVelocityTrainer
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble

CROP = """
name: toy-hippocampus
kind: crop
table: hippocampus
architecture:
  inputs: 1
  channels: [6, 8]
  tasks:
    structure: {outputs: 3, refine: 8}
losses: {structure: 1.0}
stages:
  - {until: 1.0, shape: [16, 24, 16], spacing: 1.0}
minutes: 0.01
license: CC BY-SA 4.0
"""

PAIR = """
name: toy-gradients
kind: pair
table: hippocampus
network: GradientNet
architecture: {channels: [4, 6, 8], scales: 2}
losses: {ncc: 1.0, mse: 0.1, dice: 1.0, steps: 0.1, bending: 0.1}
stages:
  - {until: 1.0, shape: [16, 24, 16], spacing: 1.0, deformation: 0.0}
minutes: 0.01
license: CC BY-SA 4.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten cases in the layout of the Decathlon, padded with zeros."""
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    for k in range(10):
        x, y, z = np.indices((22, 30, 22)) - np.array([11, 15, 11])[:, None, None, None]
        inside = (x / 5) ** 2 + (y / (9 + k % 3)) ** 2 + (z / 5) ** 2 < 1
        labels = np.pad((inside * np.where(y > 0, 1, 2)).astype(np.uint8), 3)
        image = np.pad(400 - 200 * inside + rng.integers(1, 40, inside.shape), 3).astype(np.int16)
        for name, data in (("images", image), ("labels", labels)):
            (root / name).mkdir(exist_ok=True)
            nib.Nifti1Image(data, np.diag([-1.0, 1, 1, 1])).to_filename(root / name / f"case_{k}.nii.gz")
    return root


@pytest.fixture(scope="module")
def arrays(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "training.npz"
    prepare.prepare(hippocampus.cases(folder), path)
    return path


def _recipe(folder, text, **changes):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return registry.read(path, changes)


def test_the_split_is_fixed_and_shares_nothing():
    names = [f"hippocampus_{k:03d}" for k in range(1, 401, 2)]
    parts = hippocampus.split(names)
    assert [len(parts[k]) for k in ("training", "validation", "test")] == [160, 20, 20]
    assert sorted([*parts["training"], *parts["validation"], *parts["test"]]) == names
    assert hippocampus.split(names[::-1]) == parts
    assert parts["test"][:3] == ["hippocampus_005", "hippocampus_011", "hippocampus_023"]


def test_validation_cases_train_only_where_the_recipe_says_so(folder, tmp_path):
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(PAIR)
    merged = assemble(registry.read(recipe, {"merge": True}), Data(maps=folder), tmp_path / "merged")
    training, validation = prepare.prepare_split(folder, tmp_path / "plain")
    parts = hippocampus.split(list(hippocampus.cases(folder)))
    for path, names in (
        (training, parts["training"]),
        (validation, parts["validation"]),
        (merged.data, [*parts["training"], *parts["validation"]]),
    ):
        with np.load(path) as arrays:
            assert json.loads(str(arrays["meta"]))["names"] == sorted(names)
    assert merged.validation is None
    with pytest.raises(UsageError, match="merge is for hippocampi, and for --maps"):
        assemble(registry.read(recipe, {"merge": True}), Data(arrays=merged.data), tmp_path / "arrays")


def test_cases_are_read_without_their_padding(folder):
    image, labels = prepare.read(*hippocampus.cases(folder)["case_3"])
    assert image.grid.shape == labels.grid.shape == (22, 30, 22)
    np.testing.assert_allclose(image.affine, labels.affine)
    assert float(image.data[labels.data > 0].mean()) < float(image.data[labels.data == 0].mean())


def test_crops_keep_image_and_labels_together(arrays):
    generator = hippocampus.CropGenerator(arrays, hippocampus.CropConfig())
    torch.manual_seed(0)
    for _ in range(4):
        image, classes = generator.render(0, (24, 32, 24))
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        inside = image > 0
        assert set(classes.unique().tolist()) <= {0, 1, 2}
        assert float(image[(classes > 0) & inside].mean()) < float(image[(classes == 0) & inside].mean())


def test_a_case_as_it_is_is_not_interpolated(arrays):
    """Also where one side is odd and the box's is even; half a voxel off would blur it."""
    generator = hippocampus.CropGenerator(arrays, hippocampus.CropConfig(plain=1.0))
    whole = generator.stacks[0].shape[1:]
    exact = generator.images[0][::2, ::2, ::2]
    for shape in (whole, tuple(n - 1 for n in whole), tuple(n - 2 for n in whole)):
        image, classes = generator.render(0, shape)
        found = {tuple(int(v) for v in torch.nonzero(classes == k)[0]) for k in (1, 2)}
        assert len(found) == 2
        starts = [range(w - n + 1) for w, n in zip(whole, shape, strict=True)]
        best = min(
            float((image - _scaled(exact[x : x + shape[0], y : y + shape[1], z : z + shape[2]])).abs().max())
            for x in starts[0] for y in starts[1] for z in starts[2]
        )  # fmt: skip
        assert best < 1e-3


def _scaled(image):
    return models_hippocampus.normalized(image, torch.ones(image.shape, dtype=torch.bool))


@pytest.mark.slow
@pytest.mark.parametrize("text", [CROP, PAIR])
def test_trains_resumes_and_exports(arrays, tmp_path, text):
    first = HippocampusTrainer(_recipe(tmp_path, text), arrays, tmp_path / "out", arrays)
    path = train(first)
    assert first.step >= 1
    line = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])
    assert set(line["loss"]) == set(first.recipe.losses) and all(np.isfinite(list(line["loss"].values())))
    assert {"Hippocampus-Anterior", "Hippocampus-Posterior", "mean"} == set(line["scores"])
    again = HippocampusTrainer(_recipe(tmp_path, text), arrays, tmp_path / "out")
    assert again.step == first.step
    model = zoo.load(str(path))
    assert model.card["license"] == "CC BY-SA 4.0" and model.card["kind"] == first.recipe.kind


@pytest.mark.slow
def test_pretrained_weights_are_taken(arrays, tmp_path):
    first = HippocampusTrainer(_recipe(tmp_path, PAIR), arrays, tmp_path / "a")
    path = train(first)
    second = HippocampusTrainer(_recipe(tmp_path, PAIR, start=str(path)), arrays, tmp_path / "b")
    for name, value in zoo.load(str(path)).network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value)
    # A card tells what a network began from, and what that began from, also after a restart.
    again = train(HippocampusTrainer(_recipe(tmp_path, PAIR, start=str(path)), arrays, tmp_path / "b"))
    third = HippocampusTrainer(_recipe(tmp_path, PAIR, start=str(again)), arrays, tmp_path / "c")
    third.save()
    resumed = HippocampusTrainer(_recipe(tmp_path, PAIR, start="none"), arrays, tmp_path / "c")
    cards = [zoo.read_card(str(one)) for one in (again, path)]
    assert [one["sha256"] for one in resumed.begun_from] == [card["sha256"] for card in cards]
    assert [one["steps"] for one in resumed.begun_from] == [card["steps"] for card in cards]
    assert zoo.read_card(str(path))["begun_from"] == []


def test_a_larger_network_gives_its_finer_levels(arrays, tmp_path):
    run = HippocampusTrainer(registry.read("hippocampus"), arrays, tmp_path / "out")
    given, own = zoo.load("segmentation").network.state_dict(), run.network.state_dict()
    torch.testing.assert_close(own["stem.0.weight"], given["stem.0.weight"][:, :1])
    assert torch.equal(own["decoders.structure.up.0.0.weight"], given["decoders.structure.up.1.0.weight"])
    assert torch.equal(own["decoders.structure.up.1.3.weight"], given["decoders.structure.up.2.3.weight"])
    assert torch.equal(own["down.2.3.weight"], given["down.2.3.weight"])


def test_a_gradient_that_is_no_number_changes_nothing(arrays, tmp_path):
    run = HippocampusTrainer(_recipe(tmp_path, CROP), arrays, tmp_path / "out")
    task = Task(run)
    for parameter in run.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    task.on_before_optimizer_step(run.optimizer)
    assert run.network.stem[0].weight.grad is not None
    run.network.stem[0].weight.grad[0, 0] = torch.nan
    before = run.network.stem[0].weight.detach().clone()
    task.on_before_optimizer_step(run.optimizer)
    run.optimizer.step()
    assert torch.equal(run.network.stem[0].weight.detach(), before)


VELOCITY = """
name: toy-velocity
kind: hippocampus-registration
table: hippocampus
network: VelocityUNet
architecture: {inputs: 5, channels: [4, 6]}
losses: {dice: 1.0, bending: 1.0, jacobian: 1.0}
stages:
  - {until: 1.0, shape: [16, 24, 16], spacing: 1.0}
generator: {looks: 2, deformation: 1.0}
minutes: 0.05
rate: 3.0e-3
license: CC BY-SA 4.0
"""


@pytest.mark.slow
def test_a_network_learns_to_carry_labels(folder, tmp_path, monkeypatch):
    def find(image, grid=None, **_):
        # What a network of the parts would find in a sausage: it is the darker half, and half as wide.
        inside = (image.data < image.data.max() * 0.7).float()
        y = torch.arange(image.grid.shape[1])[None, :, None] > 15
        maps = torch.stack([inside * y, inside * ~y])
        return Parts(
            *(Volume(x, image.affine) for x in (image.data / 600, maps, torch.ones(image.grid.shape)))
        )

    monkeypatch.setattr(models_hippocampus, "find", find)
    (tmp_path / "recipe.yaml").write_text(VELOCITY)
    prepared = tmp_path / "all.npz"
    prepare.prepare(hippocampus.cases(folder), prepared)
    trainer = HippocampusVelocityTrainer(
        registry.read(tmp_path / "recipe.yaml"), prepared, tmp_path, prepared
    )
    example = trainer.samples(trainer.recipe.stages[0], prepared).examples(2)[0]
    assert example.x.shape == (1, 10, 16, 24, 16) and example.targets["moving"].shape == (1, 2, 16, 24, 16)
    path = train(trainer)
    scores = json.loads(path.with_suffix(".json").read_text())["scores"]
    (found,) = scores.values()
    assert found["mean"] > found["before"] > 0.7 and found["folds"] == 0
    # Both ways round it is the same velocity with another sign.
    network = zoo.load(str(path)).network
    there = network(example.x)["velocity"]
    back = network(torch.cat(list(example.x.chunk(2, 1))[::-1], 1))["velocity"]
    assert torch.allclose(there, -back, atol=1e-5) and float(there.abs().max()) > 1e-3
