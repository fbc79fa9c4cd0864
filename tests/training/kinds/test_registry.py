"""Kinds of training by name, and former names of keys in recipes."""

import pytest

from brainseg.models.errors import UsageError
from brainseg.training.diffusion import trainer as diffusion
from brainseg.training.fetal import trainer as fetal
from brainseg.training.heads import trainer as heads
from brainseg.training.hippocampus import trainer as hippocampus
from brainseg.training.hippocampus.trainer import HippocampusVelocityTrainer
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.lesion import trainer as lesion
from brainseg.training.registration import trainer as registration
from brainseg.training.supervised import trainer as supervised


def test_every_kind_of_every_trainer_is_known():
    assert set(registry.KINDS) == {
        diffusion.KIND,
        lesion.KIND,
        *heads.KINDS,
        *fetal.KINDS,
        *registration.KINDS,
        *hippocampus.KINDS,
        *hippocampus.VELOCITY_KINDS,
        supervised.KIND,
    }


@pytest.mark.parametrize("key", ["again", "second_pass"])
def test_share_of_second_passes_has_two_names(key):
    assert registry.read("segmentation").second_pass == 0.6
    assert registry.read("segmentation", {key: 0.25}).second_pass == 0.25


def test_license_has_two_spellings():
    assert registry.read("segmentation", {"license": "CC0-1.0"}).license == "CC0-1.0"


@pytest.mark.parametrize("key", ["looks", "scans"])
def test_scans_of_a_hippocampus_have_two_names(key, tmp_path, monkeypatch):
    recipe = registry.read("hippocampus-registration", {"generator": {key: 3}, "architecture": {"inputs": 5}})
    monkeypatch.setattr(hippocampus, "AlignedPairs", lambda *_, **ranges: ranges)
    run = HippocampusVelocityTrainer(recipe, tmp_path / "data.npz", tmp_path)
    assert run.samples(recipe.stages[0], run.data) == {"device": "cpu", "scans": 3}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("segmentation", {}, "training needs data.*Give either --data or --maps"),
        ("segmentation", {"arrays": "a", "maps": "b"}, "training needs data"),
        ("lesion", {"maps": "a", "table": "headmaps"}, "uses no label table"),
        ("hippocampus", {"maps": "a", "table": "headmaps"}, "uses no label table"),
        ("pseudo", {"arrays": "a"}, "trains on real scans too"),
        ("head-coarse", {"arrays": "a", "labeled": "b"}, "trains on no real scans"),
        ("segmentation", {"arrays": "a", "labeled": "b"}, "has no share of real scans"),
    ],
)
def test_data_that_do_not_fit_the_recipe_are_refused(name, data, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        assemble(registry.read(name), Data(**data), tmp_path)
    assert not list(tmp_path.iterdir())
