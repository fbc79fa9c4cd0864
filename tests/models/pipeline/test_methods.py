"""The methods texts agree with the records, the model cards and the code."""

import json
import re

import pytest

from brainseg.models.data import FOLDER
from brainseg.models.deformation.diffeomorphic import Options
from brainseg.models.networks import zoo
from brainseg.models.pipeline import methods
from brainseg.models.population import labels, populations
from brainseg.models.quality import quality
from brainseg.models.segmentation import segmentation, skullstrip

CLAIMS = {
    "signed-distance": ("signed distance", "posterior"),
    "posterior": ("posterior of the brain exceeds", "signed distance"),
    "coarse-to-fine": ("two convolutional networks", "atlas frame"),
    "atlas-frame": ("atlas frame", "two convolutional networks"),
}
"""By method, what its text says and what it must not say."""


def numbers(text):
    """Numbers of a text, those of its references and training data left out."""
    text = re.sub(r"doi:\S+|\([^()]*\d{4}[^()]*\)|et al., \d{4}|Training data: .*? images", "", text)
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}


@pytest.mark.parametrize("name", populations.trained())
def test_every_number_and_claim_is_in_the_record_or_a_card(name):
    record = populations.load(name)
    coarse, skull, brain = (zoo.read_card(network)["spacing"] for network in record.networks)
    strip, segment = record.methods["skullstrip"], record.methods["segmentation"]
    closing = {strip.spacing} if strip.spacing else {strip.threshold}
    text = methods.skullstrip(record, "force")
    assert numbers(text) == {coarse, skull} | closing
    says, not_this = CLAIMS[strip.method]
    assert says in text and not_this not in text
    structures = len(labels.load(record.labels).labels) - 1
    text = methods.segmentation(record)
    assert numbers(text) == {coarse, brain, structures, segment.spacing}
    says, not_this = CLAIMS[segment.method]
    assert says in text and not_this not in text
    assert ("probabilistic atlas" in text) == ("atlas" in zoo.read_card(record.segmentation))
    assert numbers(methods.deformation(record)) == {record.methods["registration"].spacing}


@pytest.mark.parametrize("name", populations.trained())
def test_the_records_agree_with_the_code_and_the_cards(name):
    record = populations.load(name)
    assert record.methods["skullstrip"].method in skullstrip.METHODS
    assert record.methods["segmentation"].method in segmentation.METHODS
    options = Options().finer(**record.registration) if record.registration else Options()
    assert record.methods["registration"].spacing == options.spacing
    assert record.expected_dice == (quality.load(record.labels) is not None)
    for network in record.networks:
        data = zoo.read_card(network)["training_data"]
        assert data.removesuffix(" only").endswith(f", {record.training_images} images")
        assert data in methods.skullstrip(record) + methods.segmentation(record)


@pytest.mark.parametrize("name", populations.trained())
def test_options_are_described_where_a_method_has_them(name):
    record = populations.load(name)
    fast, accurate = (methods.segmentation(record, effort=effort) for effort in ("fast", "accurate"))
    assert (fast != accurate) == ("effort" in record.methods["segmentation"].options)
    assert "recognized" in methods.skullstrip(record, "auto") or "limited" in methods.skullstrip(record)
    assert "skull-stripped before" in methods.skullstrip(record, "skip")
    assert "convolutional" not in methods.skullstrip(record, "skip")
    deformed = methods.deformation(record, predicted=bool(record.velocity))
    assert ("predicted by a network" in deformed) == bool(record.velocity)


def test_the_intracranial_volume_is_not_claimed_for_every_image():
    text = methods.intracranial(populations.load("adult"))
    assert text.startswith("In images that show the whole skull, the intracranial volume was measured")


def test_cards_of_every_network_name_their_training_data():
    cards = [json.loads(path.read_text()) for path in (FOLDER / "weights").glob("*.json")]
    assert cards and all(card["training_data"] for card in cards)
