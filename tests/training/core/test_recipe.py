"""Recipes: those that the package ships fit their networks, and mistakes in others are named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brainseg import training
from brainseg.models.errors import UsageError
from brainseg.models.networks import zoo
from brainseg.models.population import labels
from brainseg.training.kinds import registry

TEXT = """
name: toy
kind: whole-head
architecture: {inputs: 4}
losses: {structure: 1.0}
stages:
  - {until: 1.0, shape: [20, 24, 20], spacing: 3.5, strip: 1.0}
"""


def _recipe(folder, text=TEXT, **changes):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return registry.read(path, changes)


def test_recipes(tmp_path):
    with pytest.raises(UsageError, match=r"unknown keys color"):
        _recipe(tmp_path, TEXT + "color: red\n")
    with pytest.raises(UsageError, match=r"missing keys losses"):
        _recipe(tmp_path, TEXT.replace("losses:", "text:"))
    with pytest.raises(UsageError, match="head-coarse"):
        registry.read("unheard-of")
    with pytest.raises(UsageError, match="not a valid recipe: expected a YAML mapping"):
        _recipe(tmp_path, "head-coarse")
    one = registry.read("head-coarse")
    assert len(one.digest) == 64
    assert replace(one, minutes=1).digest == one.digest


@pytest.mark.parametrize(
    "name", [p.name for p in sorted((Path(training.__path__[0]) / "recipes").glob("*.yaml"))]
)
def test_shipped_recipes_build_their_network(name):
    found = registry.read(name)
    with torch.device("meta"):
        network = zoo.ARCHITECTURES[found.network](**found.architecture)
    assert found.stages[-1]["until"] == 1.0
    for stage in found.stages:
        assert all(n % network.stride == 0 for n in stage["shape"])
    assert found.license and found.data
    assert set(found.class_weights) <= set(labels.load(found.table).unsided)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"losses": {"structur": 1.0}}, r"losses: unknown structur\. Known: .*structure"),
        ({"losses": ["structure"]}, "losses is not a mapping"),
        ({"generator": {"rotatoin": 5}}, r"generator: unknown rotatoin\. Known: .*rotation"),
        ({"kind": "cascad"}, r"kind: unknown cascad\. Known: .*cascade"),
        ({"network": "UNet"}, r"network: unknown UNet\. Known: .*StemUNet"),
        ({"table": "mine"}, r"table: unknown mine\. Known: adult"),
        ({"stages": [{"until": 1.0, "stripp": 1.0}]}, r"stage 1: unknown stripp\. Known: .*strip"),
        ({"stages": [{"until": 1.0, "shape": [8, 8, 8]}]}, "stage 1: missing spacing"),
        ({"stages": {"until": 1.0}}, "stages is not a list"),
        ({"kind": "hippocampus-registration", "losses": {"dice": 1.0}}, "stage 1: unknown strip"),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(tmp_path, changes, words):
    _recipe(tmp_path)
    with pytest.raises(UsageError, match=rf"recipe\.yaml: {words}"):
        _recipe(tmp_path, **changes)
