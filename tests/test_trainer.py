"""The trainer in seconds: it learns, resumes where it was killed, and exports weights with a card."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brainseg.models import labels, zoo
from brainseg.training import losses, recipe
from brainseg.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

COARSE = """
name: toy-coarse
kind: whole-head
architecture:
  inputs: 4
  channels: [6, 8]
  tasks:
    structure: {outputs: 19, refine: 8}
    mask: {outputs: 2, refine: 0, width: 0.5}
losses: {structure: 1.0, distance: 1.0, side: 0.5}
stages:
  - {until: 0.5, shape: [20, 24, 20], spacing: 3.5}
  - {until: 1.0, shape: [20, 24, 20], spacing: 3.5, strip: 1.0}
generator: {rotation: 5.0, contrasts: {T1w: 1.0}}
minutes: 0.02
data: toy heads
licence: CC0-1.0
"""

FINE = """
name: toy-fine
kind: cascade
architecture:
  inputs: 4
  channels: [6, 8]
  prior: 19
  tasks:
    structure: {outputs: 19, refine: 8}
    tissue: {outputs: 6, refine: 0}
losses: {structure: 1.0, tissue: 0.5, hierarchical: 0.5}
stages:
  - {until: 1.0, shape: [24, 24, 24], spacing: 2.0}
minutes: 0.02
"""


def _recipe(folder, text, **changes):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return recipe.read(path, changes)


def test_trains_resumes_and_exports(tmp_path, toy_arrays):
    out = tmp_path / "out"
    first = Trainer(_recipe(tmp_path, COARSE), toy_arrays, out, toy_arrays)
    first.run()
    assert first.step >= 1
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == first.step
    assert {"structure", "distance", "side"} == set(lines[-1]["loss"])
    assert 0 <= lines[-1]["scores"]["mask"] <= 1

    again = Trainer(_recipe(tmp_path, COARSE, minutes=first.seconds / 60 + 0.02), toy_arrays, out, toy_arrays)
    assert again.step == first.step and again.seconds == pytest.approx(first.seconds)
    for name, value in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value), name
        assert torch.equal(again.ema[name], first.ema[name])
    again.run()
    assert again.step > first.step

    model = zoo.load(str(out / "toy-coarse.safetensors"))
    card = model.card
    assert card["steps"] == again.step and card["recipe_sha256"] == first.recipe.digest
    assert card["licence"] == "CC0-1.0" and card["training_data"] == "toy heads"
    assert card["label_table"] == "adult" and card["spacing"] == 3.5
    assert not list(out.glob("*.part"))

    fine = _recipe(
        tmp_path, FINE, coarse=str(out / "toy-coarse.safetensors"), start=str(out / "toy-coarse.safetensors")
    )
    second = Trainer(fine, toy_arrays, tmp_path / "fine", toy_arrays)
    for name in ("stem.0.weight", "down.1.3.weight", "decoders.structure.low.weight"):
        assert torch.equal(second.network.state_dict()[name], model.network.state_dict()[name]), name
    second.run()
    assert zoo.load(str(tmp_path / "fine" / "toy-fine.safetensors")).card["coarse"] == fine.coarse


def test_it_learns(tmp_path, toy_arrays):
    torch.manual_seed(0)
    trainer = Trainer(_recipe(tmp_path, COARSE, rate=0.1), toy_arrays, tmp_path / "out")
    source = iter(trainer.samples(trainer.recipe.stages[0], toy_arrays))
    example = next(source)

    def loss():
        with torch.no_grad():
            return float(sum(trainer.losses(trainer.forward(example), example.targets).values()))

    before = loss()
    for _ in range(15):
        trainer._train_step(example, 0.1)
    assert loss() < 0.75 * before


def test_fewer_validation_heads_than_wanted(tmp_path, toy_arrays):
    trainer = Trainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out", toy_arrays)
    before = torch.get_rng_state()
    first, second = trainer.validate(heads=3), trainer.validate(heads=3)
    assert first == second and "mean" in first
    assert torch.equal(torch.get_rng_state(), before)


def test_recipes(tmp_path):
    with pytest.raises(ValueError, match=r"unknown keys colour"):
        _recipe(tmp_path, COARSE + "colour: red\n")
    with pytest.raises(ValueError, match=r"missing keys losses"):
        _recipe(tmp_path, COARSE.replace("losses:", "losses_:").replace("losses_:", "text:"))
    with pytest.raises(FileNotFoundError, match="head-coarse"):
        recipe.read("unheard-of")
    one = recipe.read("head-coarse")
    assert len(one.digest) == 64
    assert replace(one, minutes=1).digest == one.digest


@pytest.mark.parametrize(
    "name", [p.name for p in sorted((Path(recipe.__file__).parent / "recipes").glob("*.yaml"))]
)
def test_shipped_recipes_build_their_network(name):
    from brainseg.models.networks import StemUNet

    found = recipe.read(name)
    network = StemUNet(**found.architecture)
    assert found.stages[-1]["until"] == 1.0
    for stage in found.stages:
        assert all(n % network.stride == 0 for n in stage["shape"])
    assert found.licence and found.data
    assert set(found.class_weights) <= set(labels.load(found.table).unsided)


def _one_hot(target, count):
    return torch.nn.functional.one_hot(target, count).movedim(-1, 1).float()


def test_losses_are_least_where_prediction_is_right():
    torch.manual_seed(0)
    target = torch.randint(0, 4, (1, 12, 12, 12))
    right = 20 * _one_hot(target, 4)
    wrong = 20 * _one_hot((target + 1) % 4, 4)
    assert float(losses.segmentation_loss(right, target)) < 0.01
    assert float(losses.segmentation_loss(wrong, target)) > 5
    assert float(losses.soft_dice(_one_hot(target, 4), target)) == pytest.approx(0, abs=1e-4)
    assert float(losses.soft_dice(_one_hot((target + 1) % 4, 4), target)) > 0.99

    # structures 1 and 2 are one tissue: confusing them costs nothing
    tissue_of = torch.tensor([0, 1, 1, 2])
    confused = 20 * _one_hot(torch.tensor([0, 2, 1, 3])[target], 4)
    assert float(losses.hierarchical_loss(confused, tissue_of[target], tissue_of)) < 0.01
    assert float(losses.hierarchical_loss(wrong, tissue_of[target], tissue_of)) > 1

    distance = torch.linspace(-30, 30, 12**3).view(1, 12, 12, 12)
    assert float(losses.distance_loss(distance, distance)) <= float(
        losses.distance_loss(distance + 1, distance)
    )
    side = torch.randint(-1, 2, (1, 12, 12, 12))
    assert float(losses.side_loss((2.0 * side - 1) * 20, side)) < 0.01
    assert float(losses.side_loss((1 - 2.0 * side) * 20, side)) > 5
