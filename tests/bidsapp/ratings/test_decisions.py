"""Quality control that ends in a decision."""

import csv

import pytest

from brainseg.bidsapp.ratings import decisions
from brainseg.bidsapp.ratings.decisions import Found
from brainseg.bidsapp.ratings.files import Rating


def decision(levels, **found):
    ratings = [Rating("sub-01", f"rater{i}", level, ("motion",)) for i, level in enumerate(levels)]
    return decisions.decide({"sub-01": Found(**found)}, ratings)["sub-01"]


@pytest.mark.parametrize(
    ("levels", "automatic", "expected"),
    [
        ((), "pass", "include"),
        ((), "check", "review"),
        ((), "fail", "exclude"),
        ((), "", ""),
        (("pass",), "fail", "include"),
        (("fail",), "pass", "exclude"),
        (("pass", "fail"), "pass", "review"),
        (("fail", "fail", "pass"), "pass", "exclude"),
        (("pass", "pass", "fail"), "pass", "review"),
        (("check",), "pass", "review"),
    ],
)
def test_readers_go_before_the_automatic_rating(levels, automatic, expected):
    assert decision(levels, level=automatic).decision == expected


def test_failed_processing_is_excluded():
    found = decision((), failed=True, reason="the file is truncated")
    assert (found.decision, found.source, found.reason) == ("exclude", "processing", "the file is truncated")


def test_the_list_of_exclusions_says_why(tmp_path):
    known = {"sub-01": Found("pass"), "sub-02_ses-a": Found("fail", "Dice 0.61"), "sub-03": Found("pass")}
    ratings = [
        Rating("sub-01", "ann", "fail", ("motion", "ringing"), "very\tbad"),
        Rating("sub-03", "ann", "pass"),
    ]
    decisions.write_exclusions(tmp_path, decisions.decide(known, ratings))
    with (tmp_path / "group_exclusions.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["session_id"], row["source"]) for row in rows] == [
        ("sub-01", "n/a", "readers"),
        ("sub-02", "ses-a", "automatic"),
    ]
    assert rows[0]["reason"] == "motion; ringing; very bad" and rows[0]["raters"] == "ann"
    assert rows[1]["reason"] == "Dice 0.61"
    assert (tmp_path / "group_exclusions.json").is_file()
