"""Agreement of raters with each other and with the automatic QC rating."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .files import LEVELS, Rating

AUTOMATIC = "automatic"
"""Name of the automatic QC rating among the raters."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two raters.

    Attributes
    ----------
    raters : tuple of str
        Their names.
    count : int
        Number of participant-sessions that both rated.
    share : float
        Share of them with the same rating, 0 to 1.
    kappa : float or None
        Cohen's kappa with linear weights; None if it is not defined, as when both give one rating only.
    """

    raters: tuple[str, str]
    count: int
    share: float
    kappa: float | None


def agreements(ratings: Sequence[Rating], automatic: Mapping[str, str]) -> list[Agreement]:
    """Return the agreement of every pair of raters who rated some of the same participant-sessions.

    Parameters
    ----------
    ratings : sequence of Rating
        Ratings by readers.
    automatic : mapping of str to str
        Automatic QC ratings by participant-session.

    Returns
    -------
    list of Agreement
        Pairs of readers first, then each with the automatic rating.
    """
    known: dict[str, dict[str, str]] = {}
    for one in ratings:
        known.setdefault(one.rater, {})[one.key] = one.level
    names = sorted(known)
    tables = {**known, AUTOMATIC: {key: level for key, level in automatic.items() if level in LEVELS}}
    out = []
    for first, second in [*itertools.combinations(names, 2), *((name, AUTOMATIC) for name in names)]:
        both = sorted(set(tables[first]) & set(tables[second]))
        if both:
            pairs = [(tables[first][key], tables[second][key]) for key in both]
            share = sum(a == b for a, b in pairs) / len(pairs)
            out.append(Agreement((first, second), len(pairs), share, kappa(pairs)))
    return out


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa with linear weights; None if it is not defined.

    Examples
    --------
    >>> kappa([("pass", "pass"), ("fail", "fail"), ("check", "check")])
    1.0
    >>> kappa([("pass", "pass")]) is None
    True
    """
    count = np.zeros((len(LEVELS), len(LEVELS)))
    for first, second in pairs:
        count[LEVELS.index(first), LEVELS.index(second)] += 1
    share = count / count.sum()
    places = np.arange(len(LEVELS))
    off = np.abs(places[:, None] - places)
    expected = float((off * np.outer(share.sum(1), share.sum(0))).sum())
    return None if expected == 0 else 1 - float((off * share).sum()) / expected
