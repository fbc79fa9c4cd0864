"""The participants' pages with their ranks: in one process or several, or none."""

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.reports import group, participant
from brainseg.bidsapp.reports.study import pages
from brainseg.models.errors import ReportError, UsageError


@pytest.fixture
def out(phantoms, tmp_path):
    for number in range(5):
        phantoms.participant_session(tmp_path, f"sub-{number}", pictures=False, scale=1 - number / 50)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_every_page_has_its_rank(out, monkeypatch, processes):
    monkeypatch.setattr(pages, "ENOUGH", 2)
    monkeypatch.setattr(pages, "CHUNK", 2)
    assert group.run_group(out, processes=processes) == out / "group.html"
    for number in range(5):
        assert "n = 5" in (out / f"sub-{number}.html").read_text()
    listed = (out / "logs" / "reports.js").read_text()
    assert all(f'"sub-{number}"' in listed for number in range(5))


@pytest.mark.slow
def test_one_page_that_cannot_be_written_leaves_the_others(out, monkeypatch):
    (out / "sub-2.html").mkdir()
    (out / "sub-2.html" / "x").touch()
    with pytest.raises(ReportError, match="sub-2"):
        group.run_group(out)
    assert (out / "sub-1.html").is_file() and (out / "sub-4.html").is_file()


@pytest.mark.slow
def test_tables_only(out):
    before = (out / "sub-1.html").exists()
    assert group.run_group(out, pages=False) == out / "group_volumes.tsv"
    assert (out / "group_quality.tsv").is_file() and (out / "group_missing.tsv").is_file()
    assert (out / "sub-1.html").exists() == before
    assert not list(out.glob("*.html"))


def test_no_pages_is_for_the_group_level():
    assert parse(["/b", "/o", "group", "--no-pages"]).no_pages
    with pytest.raises(UsageError, match="--no-pages"):
        parse(["/b", "/o", "participant", "--no-pages"])


@pytest.mark.slow
def test_a_page_of_one_among_many_leaves_the_ranks_to_the_group_level(out, monkeypatch):
    """Else every participant of a large study would read the results of all."""
    monkeypatch.setattr(participant, "MOST_RANKED", 4)
    page = participant.write_participant(out, "sub-1").read_text()
    assert "With more than 4 participants the group level writes the ranks." in page
    monkeypatch.setattr(participant, "MOST_RANKED", 5)
    assert "n = 5" in participant.write_participant(out, "sub-1").read_text()
