"""The trainer in seconds: it learns, resumes where it was killed, and exports weights with a card."""

import doctest
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from brainseg.models.errors import UsageError
from brainseg.models.networks import zoo
from brainseg.training.core import lightning, optimizers, selection
from brainseg.training.core.dataloader import Stream
from brainseg.training.core.lightning import train
from brainseg.training.heads.examples import WholeHead
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.kinds import registry
from brainseg.training.losses import segmentation
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

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
license: CC0-1.0
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
    return registry.read(path, changes)


@pytest.mark.slow
def test_trains_resumes_and_exports(tmp_path, toy_arrays):
    out = tmp_path / "out"
    first = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, out, toy_arrays)
    train(first)
    assert first.step >= 1
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == first.step
    assert {"structure", "distance", "side"} == set(lines[-1]["loss"])
    assert 0 <= lines[-1]["scores"]["mask"] <= 1

    again = HeadTrainer(
        _recipe(tmp_path, COARSE, minutes=first.seconds / 60 + 0.02), toy_arrays, out, toy_arrays
    )
    assert again.step == first.step and again.seconds == pytest.approx(first.seconds)
    for name, value in first.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value), name
        assert torch.equal(again.ema[name], first.ema[name])
    train(again)
    assert again.step > first.step

    model = zoo.load(str(out / "toy-coarse.safetensors"))
    card = model.card
    assert card["steps"] == again.step and card["recipe_sha256"] == first.recipe.digest
    assert card["license"] == "CC0-1.0" and card["training_data"] == "toy heads"
    assert card["label_table"] == "adult" and card["spacing"] == 3.5
    assert not list(out.glob("*.partial"))

    fine = _recipe(
        tmp_path, FINE, coarse=str(out / "toy-coarse.safetensors"), start=str(out / "toy-coarse.safetensors")
    )
    second = HeadTrainer(fine, toy_arrays, tmp_path / "fine", toy_arrays)
    for name in ("stem.0.weight", "down.1.3.weight", "decoders.structure.low.weight"):
        assert torch.equal(second.network.state_dict()[name], model.network.state_dict()[name]), name
    train(second)
    card = zoo.read_card(str(tmp_path / "fine" / "toy-fine.safetensors"))
    assert card["coarse"] == fine.coarse and card.get("looks", 1) == 1

    with pytest.raises(UsageError, match=r"second_pass \(or again\) needs a network with a prior"):
        _recipe(tmp_path, COARSE, again=0.5)
    # A network that learned from what it had found itself says so, and is then asked twice.
    third = HeadTrainer(replace(fine, second_pass=1.0), toy_arrays, tmp_path / "again", toy_arrays)
    assert zoo.read_card(str(train(third)))["looks"] == 2
    example = third.source().examples()[0]
    with torch.no_grad():
        once = third.network(example.x, example.prior)["structure"][0].softmax(1)
        twice = third.network(example.x, F.avg_pool3d(once, 2))["structure"][0]
        found = third.forward(example)["structure"][0]
    assert float((found.softmax(1) - twice.softmax(1)).abs().mean()) < 0.01


@pytest.mark.slow
def test_it_learns(tmp_path, toy_arrays):
    torch.manual_seed(0)
    trainer = HeadTrainer(_recipe(tmp_path, COARSE, rate=0.01), toy_arrays, tmp_path / "out")
    example = trainer.source().examples()[0]
    before = None
    for _ in range(15):
        loss = sum(trainer.losses(trainer.forward(example), example.targets).values())
        before = before or float(loss.detach())
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
    assert float(loss.detach()) < 0.75 * before


def test_fewer_validation_heads_than_wanted(tmp_path, toy_arrays):
    trainer = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out", toy_arrays)
    before = torch.get_rng_state()
    first, second = trainer.validate(heads=3), trainer.validate(heads=3)
    assert first == second and "mean" in first
    assert torch.equal(torch.get_rng_state(), before)


def _one_hot(target, count):
    return torch.nn.functional.one_hot(target, count).movedim(-1, 1).float()


def test_losses_are_least_where_prediction_is_right():
    torch.manual_seed(0)
    target = torch.randint(0, 4, (1, 12, 12, 12))
    right = 20 * _one_hot(target, 4)
    wrong = 20 * _one_hot((target + 1) % 4, 4)
    assert float(segmentation.segmentation_loss(right, target)) < 0.01
    assert float(segmentation.segmentation_loss(wrong, target)) > 5
    assert float(segmentation.soft_dice(_one_hot(target, 4), target)) == pytest.approx(0, abs=1e-4)
    assert float(segmentation.soft_dice(_one_hot((target + 1) % 4, 4), target)) > 0.99

    # structures 1 and 2 are one tissue: confusing them costs nothing
    tissue_of = torch.tensor([0, 1, 1, 2])
    confused = 20 * _one_hot(torch.tensor([0, 2, 1, 3])[target], 4)
    assert float(segmentation.hierarchical_loss(confused, tissue_of[target], tissue_of)) < 0.01
    assert float(segmentation.hierarchical_loss(wrong, tissue_of[target], tissue_of)) > 1

    distance = torch.linspace(-30, 30, 12**3).view(1, 12, 12, 12)
    assert float(segmentation.distance_loss(distance, distance)) <= float(
        segmentation.distance_loss(distance + 1, distance)
    )
    side = torch.randint(-1, 2, (1, 12, 12, 12))
    assert float(segmentation.side_loss((2.0 * side - 1) * 20, side)) < 0.01
    assert float(segmentation.side_loss((1 - 2.0 * side) * 20, side)) > 5


class Killed(BaseException):
    """As sudden as a signal: nothing in the loop may catch it."""


def _steps(folder, text, data, out, **changes):
    """A trainer whose every step takes a second of its clock, and that clock."""
    trainer = HeadTrainer(_recipe(folder, text, **changes), data, out)
    return trainer, lambda: float(trainer.step)


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [5, 11])
def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path, toy_arrays, killed_at, monkeypatch):
    """It loses what came after its last checkpoint and then ends with the very weights of an unbroken one."""
    minutes = {"minutes": 14 / 60, "checkpoint_seconds": 3.0, "loggers": []}
    whole, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "whole", **minutes)
    train(whole, clock)
    assert whole.step == 14

    broken, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "broken", **minutes)
    note = broken.note

    def killing(parts):
        if broken.step == killed_at:
            raise Killed
        note(parts)

    broken.note = killing
    with pytest.raises(Killed):
        # what a kill leaves is the last checkpoint, not one made on the way out
        monkeypatch.setattr(lightning.Pace, "on_exception", lambda *_: None)
        train(broken, clock)
    again, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "broken", **minutes)
    assert killed_at - 4 <= again.step <= killed_at
    train(again, clock)
    assert again.step == whole.step
    for name, value in whole.ema.items():
        torch.testing.assert_close(again.ema[name], value, rtol=1e-4, atol=1e-6)
    for key, value in whole.running.items():
        assert again.running[key] == pytest.approx(value, rel=1e-4)


def test_a_broken_write_leaves_the_last_checkpoint(tmp_path, toy_arrays, monkeypatch):
    trainer = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out")
    trainer.save()

    def failing(state, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", failing)
    trainer.step = 7
    with pytest.raises(OSError):
        trainer.save()
    monkeypatch.undo()
    assert HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out").step == 0


def test_a_kill_in_a_validation_costs_no_steps(tmp_path, toy_arrays, monkeypatch):
    trainer = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out", toy_arrays)
    trainer.step, trainer.saves = 7, 3

    def killed():
        raise Killed

    monkeypatch.setattr(trainer, "validate", killed)
    with pytest.raises(Killed):
        trainer.checkpoint()
    again = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out", toy_arrays)
    assert (again.step, again.saves) == (7, 4)


def test_what_does_not_fit_the_recipe_is_named(tmp_path, toy_arrays):
    out = tmp_path / "out"
    HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, out).save()
    with pytest.raises(
        UsageError,
        match=r"checkpoint\.pt: the checkpoint is of another network or architecture.* another --out",
    ):
        HeadTrainer(_recipe(tmp_path, COARSE.replace("[6, 8]", "[8, 8]")), toy_arrays, out)
    with pytest.raises(UsageError, match=r"start=nothere: .*segmentation"):
        HeadTrainer(_recipe(tmp_path, COARSE, start="nothere"), toy_arrays, tmp_path / "b")
    with pytest.raises(UsageError, match=r"coarse=nothere: .*head-coarse"):
        HeadTrainer(_recipe(tmp_path, FINE, coarse="nothere"), toy_arrays, tmp_path / "b")
    with pytest.raises(UsageError, match=r"'chanels'.*takes .*channels"):
        HeadTrainer(_recipe(tmp_path, COARSE.replace("channels", "chanels")), toy_arrays, tmp_path / "b")


def test_checkpoints_of_the_plain_loop_go_on(tmp_path, toy_arrays):
    """Earlier versions kept a random state beside; heads have their own seeds now."""
    trainer = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out")
    trainer.step, trainer.seconds = 40, 0.5
    trainer.save()
    path = tmp_path / "out" / "checkpoint.pt"
    torch.save(torch.load(path, weights_only=True) | {"random": torch.get_rng_state()}, path)
    again = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out")
    assert (again.step, again.seconds) == (40, 0.5)
    train(again)
    assert again.step > 40


@pytest.mark.slow
def test_stopped_by_hand_it_keeps_the_last_step(tmp_path, toy_arrays):
    trainer, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "out", minutes=1, loggers=[])
    note = trainer.note

    def stopping(parts):
        if trainer.step == 4:
            raise KeyboardInterrupt
        note(parts)

    trainer.note = stopping
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(trainer, clock)
    assert HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out").step == 4


def test_batches_and_resumed_streams(toy_arrays):
    """Two examples of one head in a batch; a stream begun later gives what the first would have given."""
    whole = WholeHead(HeadGenerator(toy_arrays, GeneratorConfig()), (16, 16, 16), 4.0, 1)

    class Twice:
        repeat = 2

        def examples(self):
            return whole.examples() + whole.examples()

    source = Twice()
    first = iter(Stream(lambda: source, seed=3, batch=1))
    examples = [next(first) for _ in range(5)]
    later = iter(Stream(lambda: source, seed=3, batch=1, first=3))
    for expected in examples[3:]:
        assert torch.equal(next(later).x, expected.x)
    both = next(iter(Stream(lambda: source, seed=3, batch=2)))
    assert both.x.shape == (2, 4, 16, 16, 16)
    assert torch.equal(both.targets["structure"][1], examples[1].targets["structure"][0])


@pytest.mark.slow
def test_the_same_recipe_trains_the_other_network(tmp_path, toy_arrays):
    text = FINE.replace("kind: cascade", "kind: cascade\nnetwork: CoarseToFine").replace(
        "  tasks:\n    structure: {outputs: 19, refine: 8}\n    tissue: {outputs: 6, refine: 0}\n", ""
    )
    coarse = HeadTrainer(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "coarse").export()
    trainer, clock = _steps(
        tmp_path, text, toy_arrays, tmp_path / "out", minutes=3 / 60, coarse=str(coarse), loggers=[]
    )
    path = train(trainer, clock)
    assert trainer.step == 3
    model = zoo.load(str(path))
    assert type(model.network).__name__ == model.card["architecture"]["class"] == "CoarseToFine"


@pytest.mark.slow
def test_loggers(tmp_path, toy_arrays):
    minutes = {"minutes": 21 / 60, "checkpoint_seconds": 100.0}
    wanted = {"loggers": ["tensorboard", "mlflow"]}
    trainer, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "out", **minutes, **wanted)
    train(trainer, clock)
    out = tmp_path / "out"
    assert list((out / "tensorboard").glob("events.*"))
    assert list((out / "mlruns").rglob("*structure*"))
    minutes["minutes"] = 22 / 60
    trainer, clock = _steps(tmp_path, COARSE, toy_arrays, out, **minutes, **wanted)
    train(trainer, clock)
    assert [p.parent.name for p in (out / "mlruns").rglob("params")] == [trainer.mlflow_run]
    trainer, clock = _steps(tmp_path, COARSE, toy_arrays, tmp_path / "b", minutes=1, loggers=["wandb"])
    with pytest.raises(UsageError, match="wandb"):
        train(trainer, clock)


@pytest.mark.slow
def test_a_bare_machine_trains():
    """Of what is not torch, Lightning, safetensors or scipy nothing is imported."""
    import subprocess
    import sys

    blocked = [
        "nibabel",
        "nipype",
        "bids",
        "pandas",
        "ants",
        "nilearn",
        "SimpleITK",
        "niworkflows",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); import brainseg.training.core.lightning"
    )
    code += ", brainseg.training.core.trainer, brainseg.training.fetal.trainer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


class Scored(HeadTrainer):
    """A trainer whose validations give scores in turn."""

    turn: list

    def validate(self, heads=4):
        if self.validation is None:
            return {}
        return {"mean": self.turn[min(self.saves, len(self.turn)) - 1]}


def test_the_warm_up_is_short_in_a_short_training():
    run = SimpleNamespace(recipe=SimpleNamespace(rate=1.0, schedule="cosine"), step=0, share=0.0)
    run.optimizer = SimpleNamespace(param_groups=[{}])
    pace = lightning.Pace(run, lambda: 0.0)

    def rate(step, share):
        run.step, run.share = step, share
        pace.on_train_batch_start(None, None)
        return run.optimizer.param_groups[0]["lr"]

    assert rate(0, 0.0) == pytest.approx(0.01, rel=0.01)
    assert rate(49, 0.001) == pytest.approx(0.5, rel=0.02)
    assert rate(9, optimizers.WARM_SHARE) > 0.95
    assert rate(10, 1.0) == pytest.approx(0.005)


def _scored(folder, arrays, turn, out="out", **changes):
    run = Scored(_recipe(folder, COARSE, **changes), arrays, folder / out, arrays)
    run.turn = turn
    return run


def _step(run, value):
    """A step after which all averaged weights have one value."""
    run.step += 1
    for tensor in run.ema.values():
        tensor.fill_(value)
    run.checkpoint(last=True)


def test_the_best_weights_are_exported_not_the_last(tmp_path, toy_arrays):
    run = _scored(tmp_path, toy_arrays, [0.5, 0.9, 0.4])
    for value in (1, 2):
        _step(run, value)
    run = _scored(tmp_path, toy_arrays, [0.5, 0.9, 0.4])  # also after an interruption
    assert run.step == 2
    _step(run, 3)
    model = zoo.load(str(run.export()))
    assert all(bool((v == 2).all()) for v in model.network.state_dict().values())
    assert model.card["steps"] == 3 and "step 2 of 3, the best of 3 validations" in model.card["selection"]
    assert all(bool((v == 3).all()) for v in run.ema.values()), "the training goes on from the last weights"


def test_without_validation_the_last_weights_are_exported(tmp_path, toy_arrays):
    run = _scored(tmp_path, toy_arrays, [0.9])
    run.validation = None
    _step(run, 1)
    _step(run, 2)
    model = zoo.load(str(run.export()))
    assert all(bool((v == 2).all()) for v in model.network.state_dict().values())
    assert model.card["selection"] == "last step; no validation data"


def test_scores_of_other_validation_data_are_not_compared(tmp_path, toy_arrays):
    run = _scored(tmp_path, toy_arrays, [0.9])
    _step(run, 1)
    other = tmp_path / "other.npz"
    other.write_bytes(toy_arrays.read_bytes())
    run = Scored(_recipe(tmp_path, COARSE), toy_arrays, tmp_path / "out", other)
    run.turn = [0.1]
    _step(run, 2)
    assert run.best.step == 2 and run.best.validations == 1


def test_an_interrupted_validation_is_made_up_for(tmp_path, toy_arrays):
    run = _scored(tmp_path, toy_arrays, [0.9])
    run.step, run.saves = 7, 4
    run.save()
    again = _scored(tmp_path, toy_arrays, [0.9])
    again.catch_up()
    assert again.best.step == 7
    again.catch_up()
    assert again.best.validations == 1


def test_examples_of_the_selection():
    assert doctest.testmod(selection).failed == 0


def test_weights_are_averaged_over_as_many_steps_as_the_recipe_says(tmp_path, toy_arrays):
    """With 1 it is the mean of all steps and of the start; with more, of the last ones."""
    means = {}
    for averaging in (1.0, 20.0):
        run = _scored(tmp_path, toy_arrays, [0.9], out=str(averaging), averaging=averaging)
        run.ema = {k: torch.zeros_like(v) for k, v in run.ema.items()}
        for run.step in range(1, 101):
            run.network.load_state_dict(
                {k: torch.full_like(v, run.step) for k, v in run.network.state_dict().items()}
            )
            run.average()
        means[averaging] = float(next(iter(run.ema.values())).flatten()[0])
    assert means[1.0] == pytest.approx(50, abs=0.1)
    assert 93 < means[20.0] < 97


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path, toy_arrays):
    run = _scored(tmp_path, toy_arrays, [0.9])
    run.save()
    with pytest.raises(UsageError, match="another optimizer than muon"):
        _scored(tmp_path, toy_arrays, [0.9], optimizer="muon")
