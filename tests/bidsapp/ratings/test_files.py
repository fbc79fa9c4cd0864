"""Ratings that readers saved are read back; what cannot be used is named."""

import json

from brainseg.bidsapp.ratings import files

KEYS = ("sub-01", "sub-02_ses-a")


def rating(participant="sub-01", level="pass", **more):
    known = {
        "participant_id": participant,
        "session_id": "n/a",
        "rating": level,
        "artifacts": [],
        "comment": "",
    }
    return known | {"rater": "ann", "verdict": "pass", "time": "2026-01-01T10:00:00Z"} | more


def save(folder, name, content):
    path = folder / files.FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_files_of_one_and_of_many_ratings_are_read(tmp_path):
    save(tmp_path, "sub-01_rating.json", rating(level="fail", artifacts=["motion"], comment="much"))
    both = [rating(rater="bob"), rating("sub-02", session_id="ses-a", rater="bob", rating="check")]
    save(tmp_path, "bob/ratings.json", both)
    found, problems = files.read(tmp_path, KEYS)
    assert problems == []
    assert [(one.rater, one.key, one.level) for one in found] == [
        ("ann", "sub-01", "fail"),
        ("bob", "sub-01", "pass"),
        ("bob", "sub-02_ses-a", "check"),
    ]
    assert (found[0].artifacts, found[0].comment) == (("motion",), "much")


def test_the_latest_rating_of_a_reader_counts(tmp_path):
    save(tmp_path, "a.json", rating(level="fail", time="2026-03-01T10:00:00Z"))
    save(tmp_path, "b.json", rating(level="pass", time="2026-02-01T10:00:00Z"))
    (found,), _ = files.read(tmp_path, KEYS)
    assert found.level == "fail"


def test_what_cannot_be_used_is_named(tmp_path):
    save(tmp_path, "a.json", "{ broken")
    save(tmp_path, "b.json", rating("sub-99"))
    save(tmp_path, "c.json", rating(level="superb"))
    save(tmp_path, "d.json", ["words"])
    save(tmp_path, "e.json", rating(level="n/a", comment="only a comment"))
    found, problems = files.read(tmp_path, KEYS)
    assert found == []
    assert len(problems) == 4
    for words in ("a.json cannot be read", "sub-99 is not in the output folder", "'superb'", "not a rating"):
        assert any(words in problem for problem in problems)


def test_a_folder_without_ratings_has_none(tmp_path):
    assert files.read(tmp_path, KEYS) == ([], [])
