"""A network for something else is refused by its card, before anything is computed."""

import doctest
import json
import shutil

import pytest

from brainseg.models.errors import UsageError
from brainseg.models.networks import purpose, zoo
from brainseg.models.pipeline import process
from brainseg.models.population import populations

PURPOSE_OF = {
    "coarse": {"coarse-to-fine": "localization", "atlas-frame": "pose"},
    "segmentation": {"coarse-to-fine": "segmentation", "atlas-frame": "upright segmentation"},
    "lesion": "lesion",
    "velocity": "registration",
    "hippocampus": "hippocampus",
}


def test_examples():
    assert doctest.testmod(purpose).failed == 0


@pytest.mark.parametrize("name", zoo.installed())
def test_installed_cards_say_their_kind(name):
    card = zoo.read_card(name)
    assert card["kind"] and purpose.purpose_of(card) in purpose.PURPOSES
    purpose.check(name, purpose.purpose_of(card))
    if card["kind"] != "cavity":  # it looks like a network of the brain mask, and its cards always say it
        assert purpose.kind_of(card | {"kind": None}) == card["kind"], "also of cards without it"


@pytest.mark.parametrize("population", populations.trained())
def test_networks_of_a_population_fit_their_stages(population):
    record = populations.load(population)
    for field, wanted in PURPOSE_OF.items():
        if name := getattr(record, field):
            method = record.methods["segmentation"].method
            purpose.check(name, wanted if isinstance(wanted, str) else wanted[method])


@pytest.mark.parametrize(
    "model", ["skullstrip", "head-coarse", "fetal", "lesion", "registration", "hippocampus"]
)
def test_segmentation_refuses_other_networks_before_skull_stripping(model, monkeypatch):
    monkeypatch.setattr(process.skullstrip, "skullstrip", lambda *_, **__: pytest.fail("it was computed"))
    with pytest.raises(
        UsageError, match=rf"{model}: the network does not fit .* adult brains: .*; it is made to .*"
    ):
        process.process(None, "adult", model=model)


def test_fetal_segmentation_refuses_adult_networks():
    with pytest.raises(UsageError, match="does not segment a fetal brain in the atlas frame"):
        process.with_network(populations.load("fetal"), "segmentation")


def test_a_card_whose_outputs_and_label_table_disagree_is_refused(tmp_path):
    source = zoo.path_of("segmentation")
    shutil.copy(source, tmp_path / "mine.safetensors")
    for changes, words in (
        ({"label_table": "fetal"}, "predicts 19 structures, but its label table fetal has 8"),
        ({"label_table": "mine"}, "label table mine, which is not installed"),
        ({"coarse": "skullstrip"}, "skullstrip: this network does not find the brain in a head"),
    ):
        card = zoo.read_card("segmentation") | changes
        (tmp_path / "mine.json").write_text(json.dumps(card))
        with pytest.raises(UsageError, match=words):
            process.with_network(populations.load("adult"), str(tmp_path / "mine.safetensors"))
