"""Options that a population does not have: refused if none has them, else noted."""

import re

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import options
from brainseg.models.errors import UsageError
from helpers import own_networks


def _settings(tmp_path, *words):
    return parse([str(tmp_path), str(tmp_path / "out"), "participant", *words])


@pytest.mark.parametrize(
    ("words", "populations", "reason"),
    [
        (("--effort", "accurate"), ["fetal", "fetal"], "--effort accurate is not available for fetal brains"),
        (("--steps", "corpuscallosum"), ["adult"], "the step corpuscallosum is not available for adult"),
        (("--effort", "accurate"), ["fetal", "adult"], None),
        (("--effort", "accurate"), ["adult"], None),
        (("--steps", "corpuscallosum"), ["adult", "fetal"], None),
        ((), ["fetal"], None),
        (("--effort", "accurate"), [], None),
    ],
)
def test_options_that_no_population_has_are_refused(tmp_path, words, populations, reason):
    settings = _settings(tmp_path, *words)
    if reason is None:
        return options.check(settings, populations)
    with pytest.raises(UsageError, match=reason) as caught:
        options.check(settings, populations)
    assert caught.value.remedy.startswith("Leave ")


def test_a_network_of_own_labels_has_every_effort(tmp_path):
    path = own_networks.make(tmp_path / "networks")
    words = ("--effort", "accurate", "--network", f"segmentation={path}")
    options.check(_settings(tmp_path, *words), ["fetal"])


def test_in_a_mixed_dataset_they_are_noted(tmp_path):
    settings = _settings(tmp_path, "--steps", "corpuscallosum")
    (note,) = options.notes(settings, "adult")
    assert "corpuscallosum was left out" in note and "adult" in note
    assert options.notes(settings, "fetal") == options.notes(_settings(tmp_path), "adult") == []


@pytest.mark.parametrize(
    ("words", "population", "atlases", "note"),
    [
        ((), "adult", ("DesikanKilliany",), None),
        (("--atlases", "Schaefer100"), "adult", ("DesikanKilliany", "Schaefer100"), None),
        (("--atlases", "DesikanKilliany"), "adult", ("DesikanKilliany",), None),
        (("--steps", "no-parcels"), "adult", (), None),
        ((), "fetal", (), None),
        (("--registration", "none"), "adult", (), "DesikanKilliany were left out: they need a registration"),
        (
            ("--output-spaces", "MNI152NLin2009aSym"),
            "adult",
            ("DesikanKilliany",),
            "it lies in MNI152NLin2009c",
        ),
        (("--maps", "T=x.nii"), "adult", ("DesikanKilliany",), None),
        (("--maps", "T=x.nii"), "fetal", (), r"The maps \(T\) were left out: there are no parcels"),
    ],
)
def test_atlases_of_a_population(tmp_path, words, population, atlases, note):
    settings = _settings(tmp_path, *words)
    assert options.atlases(settings, population) == atlases
    found = options.atlas_notes(settings, population, settings.output_spaces)
    if note is None:
        assert found == []
    else:
        (said,) = found
        assert re.search(note, said)
