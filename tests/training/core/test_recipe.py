"""Recipes: those that the package ships fit their networks, and mistakes in others are named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brainseg import training
from brainseg.models.errors import UsageError
from brainseg.models.networks import zoo
from brainseg.models.population import labels
from brainseg.training.heads.trainer import check_coarse
from brainseg.training.kinds import registry

TEXT = """
name: toy
kind: whole-head
architecture: {inputs: 4}
losses: {structure: 1.0}
stages:
  - {until: 1.0, shape: [32, 32, 32], spacing: 3.5, strip: 1.0}
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


def test_numbers_are_numbers(tmp_path):
    assert _recipe(tmp_path, TEXT + "rate: 1e-4\n").rate == 1e-4, "a text in YAML"
    assert _recipe(tmp_path, minutes="2.5e1").minutes == 25
    with pytest.raises(UsageError, match="rate is 'fast', which is no number"):
        _recipe(tmp_path, rate="fast")


def test_a_recipe_of_a_user_states_its_license_and_has_its_table_beside_it(tmp_path):
    assert _recipe(tmp_path).license == "not stated"
    assert _recipe(tmp_path, TEXT + "licence: CC0-1.0\n").license == "CC0-1.0"
    assert _recipe(tmp_path, license="MIT").license == "MIT"
    assert registry.read("head-coarse").license == "Apache-2.0"
    table = Path(registry.read("ibsr18-volume").table)
    assert table.is_file() and table.name == "ibsr18.tsv"
    (tmp_path / "mine.tsv").write_text("index\tname\n1\tThing\n")
    text = (Path(training.__path__[0]) / "recipes" / "labels-slices.yaml").read_text()
    found = _recipe(tmp_path, text.replace("table: dseg", "table: mine.tsv"))
    assert found.table == str(tmp_path / "mine.tsv") and found.architecture["outputs"] == 2
    given = tmp_path / "other.tsv"
    given.write_text("index\tname\n1\tA\n2\tB\n")
    assert _recipe(tmp_path, text, table=str(given)).architecture["outputs"] == 3


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


CASCADE = """
name: toy
kind: cascade
coarse: head-coarse
architecture:
  inputs: 4
  channels: [6, 8]
  prior: 19
  tasks:
    structure: {outputs: 19}
    tissue: {outputs: 6}
losses: {structure: 1.0, tissue: 0.5}
stages:
  - {until: 1.0, shape: [32, 32, 32], spacing: 2.0}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{outputs: 19}", "{outputs: 8}", "structure has 8 outputs, but the label table adult has 19"),
        ("{outputs: 6}", "{outputs: 4}", "tissue has 4 outputs, but there are 6 tissues"),
        ("name: toy", "name: toy\ntable: fetal", "table fetal does not fit the kind cascade. Use adult"),
        ("prior: 19", "prior: 8", "prior is 8, but the context structure has 19 channels"),
        ("name: toy", "name: toy\ncontext: distance", "prior is 19, but the context distance has 1 channels"),
        ("inputs: 4", "inputs: 1", "1 inputs; examples of the kind cascade have 4"),
        (
            "tissue: 0.5",
            "distance: 0.5",
            "distance needs the task mask; the architecture has structure, tissue",
        ),
        ("until: 1.0", "until: 0.5", r"until is \[0.5\]. Let it increase, and end with 1.0"),
        ("[32, 32, 32]", "[30, 32, 32]", "not multiples of 4"),
        ("[32, 32, 32]", "[32, 32]", "Give 3 numbers of voxels"),
        ("losses:", "class_weights: {999: 2.0}\nlosses:", "class_weights: 999 are not in the table adult"),
        ("channels:", "chanels:", r"does not fit StemUNet .*chanels.*takes inputs, channels"),
        ("{outputs: 19}", "{output: 19}", r"does not fit StemUNet \(KeyError"),
        ("kind: cascade", "kind: whole-head", "prior: examples of the kind whole-head have none"),
    ],
)
def test_parts_of_a_recipe_that_do_not_fit_are_named(tmp_path, old, new, words):
    _recipe(tmp_path, CASCADE)
    with pytest.raises(UsageError, match=rf"recipe\.yaml: .*{words}"):
        _recipe(tmp_path, CASCADE.replace(old, new))


def test_a_coarse_network_for_something_else_is_refused(tmp_path):
    check_coarse(_recipe(tmp_path, CASCADE))
    with pytest.raises(UsageError, match=r"lesion: this network does not find the brain .*head-coarse"):
        check_coarse(_recipe(tmp_path, CASCADE, coarse="lesion"))
