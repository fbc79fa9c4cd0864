"""Agreement of readers with each other and with the automatic rating."""

import doctest

import pytest

from brainseg.bidsapp.ratings import agreement
from brainseg.bidsapp.ratings.files import Rating


def test_every_pair_of_raters_and_the_automatic_rating():
    assert doctest.testmod(agreement).failed == 0
    levels = {"ann": ["pass", "pass", "fail", "check"], "bob": ["pass", "check", "fail"], "eve": []}
    ratings = [
        Rating(f"sub-{i}", name, level) for name, found in levels.items() for i, level in enumerate(found)
    ]
    automatic = {"sub-0": "pass", "sub-1": "pass", "sub-2": "pass", "sub-3": ""}
    found = {one.raters: one for one in agreement.agreements(ratings, automatic)}
    assert list(found) == [("ann", "bob"), ("ann", "automatic"), ("bob", "automatic")]
    assert (found["ann", "bob"].count, found["ann", "bob"].share) == (3, pytest.approx(2 / 3))
    assert found["ann", "automatic"].count == 3


def test_kappa_is_that_of_the_textbook():
    # Cohen (1968) with linear weights: observed disagreement 0.2, expected 0.44.
    pairs = (
        [("pass", "pass")] * 6 + [("fail", "fail")] * 2 + [("pass", "check")] * 2 + [("check", "pass")] * 0
    )
    observed, expected = 0.2, 0.8 * (0.2 * 1 + 0.2 * 2) + 0.2 * (0.6 * 2 + 0.2 * 1)
    assert agreement.kappa(pairs) == pytest.approx(1 - observed / expected)
    chance = [(a, b) for a in ("pass", "fail") for b in ("pass", "fail")]
    assert agreement.kappa(chance) == pytest.approx(0)
