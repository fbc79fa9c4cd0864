"""Measures of the group plot: each volume is there once; volumes in words."""

from types import SimpleNamespace

import pytest

from brainseg.bidsapp.reports import cohort, render


def test_a_total_of_one_structure_is_shown_once():
    cortex = ["Left-Cerebral-Cortex", "Right-Cerebral-Cortex"]
    deep = [f"{side}-{name}" for name in ("Thalamus", "Caudate") for side in ("Left", "Right")]
    names = ["brain", "total_gm", "cortex_gm", "subcortical_gm", *cortex, *deep]
    found = cohort.measures_of([SimpleNamespace(volumes=dict.fromkeys(names, 1.0))])
    whole = [one["parts"] for one in found if one["group"] == "Whole brain"]
    assert whole == [["brain"], ["total_gm"], ["cortex_gm"], ["subcortical_gm"]]
    assert [one["name"] for one in found if one["group"] == "Structures"] == ["Thalamus", "Caudate"]
    assert [one["parts"][0] for one in found if one["group"] == "Sides"][:2] == cortex
    # without the total, the structure itself is shown
    found = cohort.measures_of([SimpleNamespace(volumes=dict.fromkeys(["brain", *cortex], 1.0))])
    assert [one["name"] for one in found if one["group"] == "Structures"] == ["Cerebral Cortex"]


@pytest.mark.parametrize(
    ("mm3", "words"),
    [(29.0, "0.029 mL"), (3.2, "0.0032 mL"), (0.0, "0.00 mL"), (123.0, "0.12 mL"), (1234.5, "1.23 mL")],
)
def test_small_volumes_keep_two_digits(mm3, words):
    assert words in render.volume(mm3)
