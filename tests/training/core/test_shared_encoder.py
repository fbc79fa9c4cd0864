"""Networks that share the encoder of others: it neither trains nor is stored, and no other one is taken."""

import json

import pytest
import torch
from safetensors.torch import load_file

from brainseg.models.errors import UsageError
from brainseg.models.networks import zoo
from brainseg.training.core.lightning import train
from brainseg.training.core.recipe_check import built
from brainseg.training.heads.trainer import HeadTrainer
from brainseg.training.kinds import registry

SURFACE = """
name: toy-surface
kind: whole-head
shares: {base}
start: {base}
eight_bits: true
architecture:
  inputs: 4
  channels: [6, 8]
  tasks:
    mask: {{outputs: 1, refine: 4, width: 0.5}}
losses: {{distance: 0.5, border: 1.0}}
stages:
  - {{until: 1.0, shape: [20, 24, 20], spacing: 3.5, finer: 1}}
generator: {{strip: 0.0, atrophy: 0.5}}
minutes: 0.01
rate: 1.0e-2
"""


@pytest.fixture
def base(tmp_path):
    """Weights with an encoder, and their file."""
    text = SURFACE.replace("shares: {base}\nstart: {base}\neight_bits: true\n", "").format()
    path = tmp_path / "base.yaml"
    path.write_text(text.replace("toy-surface", "toy-base"))
    recipe = registry.read(path)
    torch.manual_seed(0)
    card = {"name": "toy-base", "kind": "whole-head", "label_table": "adult"}
    card["architecture"] = {"class": recipe.network, "arguments": recipe.architecture}
    return zoo.save(tmp_path, built(recipe).state_dict(), card)


def _trainer(folder, base, arrays, **changes):
    path = folder / "surface.yaml"
    path.write_text(SURFACE.format(base=base))
    return HeadTrainer(registry.read(path, changes), arrays, folder / "out", arrays)


def test_the_encoder_neither_trains_nor_is_stored(tmp_path, base, toy_arrays):
    run = _trainer(tmp_path, base, toy_arrays)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    path = train(run)
    assert run.step >= 1
    after = run.network.state_dict()
    shared = zoo.encoder(after)
    assert shared and all(torch.equal(after[name], before[name]) for name in shared)
    assert any(not torch.equal(after[name], before[name]) for name in zoo.without_encoder(after))
    stored = load_file(path)
    assert not zoo.encoder(stored) and any(value.dtype == torch.int8 for value in stored.values())
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["encoder"] == {"name": str(base), "sha256": zoo.read_card(str(base))["sha256"]}
    assert set(card["scores"][run.scored]) == {"mask", "mask/volume error"}
    loaded = zoo.load(str(path)).network.state_dict()
    theirs = zoo.load(str(base)).network.state_dict()
    assert all(torch.equal(loaded[name], theirs[name]) for name in shared)


def test_another_encoder_is_refused(tmp_path, base, toy_arrays):
    path = train(_trainer(tmp_path, base, toy_arrays))
    card = json.loads(base.with_suffix(".json").read_text())
    state = load_file(base)
    zoo.save(tmp_path, {name: value + 1 for name, value in state.items()}, card)
    with pytest.raises(zoo.ModelError, match="needs the encoder of other weights"):
        zoo.load(str(path))


def test_an_encoder_that_does_not_fit_is_refused(tmp_path, base, toy_arrays):
    wide = {"inputs": 4, "channels": [8, 8], "tasks": {"mask": {"outputs": 1, "refine": 4}}}
    with pytest.raises(UsageError, match=r"shares=.*its encoder does not fit the architecture"):
        _trainer(tmp_path, base, toy_arrays, architecture=wide)
