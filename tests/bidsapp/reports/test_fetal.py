"""Before birth in the tables and on the pages: sums by tissue, gestational age, licenses."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from brainseg.bidsapp.execution import licenses, participants_tsv
from brainseg.bidsapp.inputs.select import ParticipantSession
from brainseg.bidsapp.reports import cohort as comparison
from brainseg.bidsapp.reports import derivatives, group_quality, label_tables
from brainseg.bidsapp.reports.group import run_group
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.status import facts, records
from brainseg.bidsapp.status.facts import Facts, facts_of
from brainseg.models.errors import InputError
from brainseg.models.population import labels, populations


def _participant_session(
    out, key: str, scale: float = 1.0, age: dict | None = None, table: str = "fetal", **told
) -> None:
    """Volumes and status of a participant-session whose every structure has 1000 mm3, but for the scale."""
    anat = out / key / "anat"
    anat.mkdir(parents=True)
    rows = [f"{x.index}\t{x.name}\t{1000 * scale:.2f}" for x in labels.load(table) if x.index]
    text = "\n".join(["index\tname\tvolume_mm3", *rows]) + "\n"
    (anat / f"{key}_desc-aseg_volumes.tsv").write_text(text)
    (anat / f"{key}_desc-aseg_volumes.json").write_text(json.dumps({"Age": age} if age else {}))
    records.write(out, key, {"state": "done", "suffix": "T2w"} | told)


def _rows(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def _weeks(value: float, estimated: bool) -> dict:
    return {"Value": value, "Units": "gestational weeks", "Estimated": estimated}


@pytest.fixture
def fetuses(tmp_path):
    """One whose age was given, and one whose age the volumes told."""
    _participant_session(tmp_path, "sub-1", age=_weeks(27.0, False))
    _participant_session(tmp_path, "sub-2", age=_weeks(24.26, True))
    return tmp_path


@pytest.mark.parametrize("table", ["fetal", "fetal-callosum"])
def test_every_structure_of_a_fetus_counts_in_its_tissue(tmp_path, table):
    _participant_session(tmp_path, "sub-1", table=table)
    found = derivatives.load(tmp_path, "sub-1").volumes
    of = [labels.DSEG_NAMES[labels.DSEG[label.tissue] - 1] for label in labels.load(table) if label.index]
    whole = {total.name: total.map for total in labels.totals().values() if total.map}
    assert {name: found[name] for name in whole} == {
        name: 1000 * of.count(tissue) for name, tissue in whole.items()
    }
    assert found["subcortical_gm"] == found["cerebellum"] == 2000 and "cerebellar_gm" not in found
    assert sum(found[name] for name in whole) == found["brain"]


def test_an_index_means_the_same_in_every_table():
    for name in facts.label_tables():
        for label in labels.load(name):
            known = label_tables.every()[label.index]
            assert (known.name, known.tissue, known.partner) == (label.name, label.tissue, label.partner)


@pytest.mark.parametrize(
    ("indices", "age", "wanted"),
    [
        ([], None, ("adult", "adult")),
        ([2, 999], None, ("adult", "adult")),
        ([2, 192], None, ("fetal", "fetal-callosum")),
        ([2, 3], {"Value": 27.0, "Units": "gestational weeks"}, ("fetal", "fetal")),
        ([2, 3], {"Value": 27.0, "Units": "year"}, ("adult", "adult")),
    ],
)
def test_facts_of_earlier_versions_are_inferred(indices, age, wanted):
    found = facts_of({"state": "done"}, indices=indices, sidecar={"Age": age})
    assert found.inferred and (found.population, found.label_table) == wanted
    assert not age or found.age_unit == populations.load(found.population).age_unit


def test_the_page_says_what_was_inferred(tmp_path):
    _participant_session(tmp_path, "sub-1", age=_weeks(27.0, False))
    assert "were inferred" in write_participant(tmp_path, "sub-1").read_text()
    known = {"population": "fetal", "label_table": "fetal", "age": 27.0, "age_unit": "gestational weeks"}
    records.write(tmp_path, "sub-1", {"state": "done", "suffix": "T2w"} | known)
    page = write_participant(tmp_path, "sub-1").read_text()
    assert "were inferred" not in page and "<dt>Population</dt><dd>fetal</dd>" in page


def test_pages_and_group_know_the_structures_of_fetuses(fetuses):
    run_group(fetuses)
    row = _rows(fetuses / "group_volumes.tsv")[0]
    assert (float(row["subcortical_gm"]), float(row["Left-Deep-Gray-Matter"])) == (2000, 1000)
    assert list(row).index("Left-Deep-Gray-Matter") < list(row).index("Right-Cerebellum")
    participant_session = derivatives.load(fetuses, "sub-1")
    cohort = comparison.Cohort.of([participant_session])
    gray = next(g for g in comparison.groups_of(participant_session, cohort) if g["name"] == "Gray matter")
    assert [row["name"] for row in gray["rows"]] == ["Cerebral Cortex", "Cerebellum", "Deep Gray Matter"]
    assert all(row["norm"] is None for row in gray["rows"])
    gray = next(
        tile for tile in comparison.tiles_of(participant_session, cohort) if tile["name"] == "Gray matter"
    )
    assert gray["value"] == participant_session.volumes["total_gm"]
    assert "Deep Gray Matter" in (fetuses / "sub-1.html").read_text()


def test_gestational_age_is_in_the_tables_with_its_source(fetuses):
    run_group(fetuses)
    for name in ("group_volumes", "group_quality"):
        rows = _rows(fetuses / f"{name}.tsv")
        found = [(row["gestational_age"], row["gestational_age_estimated"]) for row in rows]
        assert found == [("27", "no"), ("24.26", "yes")]
        assert "age" not in rows[0]
        described = json.loads((fetuses / f"{name}.json").read_text())
        assert list(described) == list(rows[0])
        assert described["gestational_age"]["Units"] == "week"
    assert "24.3 (est.)" in (fetuses / "group.html").read_text()


def test_adults_have_no_column_of_gestational_age(tmp_path):
    _participant_session(tmp_path, "sub-1", table="adult", age={"Value": 40, "Units": "years"})
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tgestational_age\nsub-1\t1\t39\n")
    run_group(tmp_path)
    assert "gestational_age" not in (tmp_path / "group_volumes.tsv").read_text()


@pytest.mark.parametrize("estimated", [False, True])
def test_the_report_begins_with_the_gestational_age(tmp_path, estimated):
    _participant_session(tmp_path, "sub-1", age=_weeks(27.84, estimated))
    page = write_participant(tmp_path, "sub-1").read_text()
    words = "27.8 weeks" + (" (estimated)" if estimated else "")
    assert f"<dt>Gestational age</dt><dd>{words}</dd>" in page


def test_the_age_of_the_mother_is_not_that_of_the_fetus(tmp_path):
    _participant_session(tmp_path, "sub-1")
    records.write(tmp_path, "sub-1", {"state": "done", "age": 32.0, "gestational_age": 27.0})
    person = derivatives.demographics(derivatives.load_all(tmp_path))["sub-1"]
    assert (person["age"], person["gestational_age"]) == (None, 27.0)


def test_volumes_are_compared_at_the_same_gestational_age(tmp_path):
    for k in range(30):
        age = 22 + k / 2
        _participant_session(tmp_path, f"sub-{k:02}", scale=np.exp(age / 10), age=_weeks(age, False))
    participant_sessions = derivatives.load_all(tmp_path)
    ages = group_quality.ages(derivatives.demographics(participant_sessions))
    assert ages["sub-00"] == 22
    outliers = group_quality.Outliers(comparison.Cohort.of(participant_sessions), ages)
    assert "age" in outliers.adjusted
    assert group_quality.ages({"a": {"age": 3.0, "gestational_age": None}}) == {"a": 3.0}


def test_the_status_file_holds_the_age_with_its_unit():
    fetus = ParticipantSession("1", None, None, population="fetal", label_table="fetal", age=27.0)
    content = records.Record(fetus).as_dict()
    assert (content["age"], content["age_unit"]) == (27.0, "gestational weeks")
    assert facts_of(content) == Facts("fetal", "fetal", 27.0, "gestational weeks")
    infant = records.Record(ParticipantSession("1", None, None, age=0.5, population="infant")).as_dict()
    assert (infant["age"], infant["age_unit"]) == (0.5, "years")
    assert facts_of(infant).gestational_age is None


def _of_age(weeks: float | None) -> ParticipantSession:
    return ParticipantSession("1", None, None, population="adult" if weeks is None else "fetal", age=weeks)


@pytest.mark.parametrize(
    ("columns", "cells", "weeks", "wanted"),
    [
        ("gestational_age", "27", [], ("n/a", "27")),
        ("age", "40", [None], ("40", None)),
        ("age\tgestational_age", "32\t27", [27.0], ("n/a", "27")),  # the mother's age
        ("age\tgestational_age", "0.5\t39", [None], ("0.5", None)),  # at birth
        ("gestational_age", "33", [24.0, 33.0], ("n/a", None)),  # of two sessions
    ],
)
def test_the_list_of_participants_has_gestational_ages(tmp_path, columns, cells, weeks, wanted):
    bids, out = tmp_path / "bids", tmp_path / "out"
    (bids / "sub-1").mkdir(parents=True)
    out.mkdir()
    (bids / "participants.tsv").write_text(f"participant_id\t{columns}\nsub-1\t{cells}\n")
    participants_tsv.write(out, bids, [_of_age(value) for value in weeks])
    row = _rows(out / "participants.tsv")[0]
    assert (row["age"], row.get("gestational_age")) == wanted
    assert set(json.loads((out / "participants.json").read_text())) == set(row)


def test_licenses_are_told_once_for_each_population():
    settings = SimpleNamespace(step=lambda name: False, networks={})
    participant_sessions = [ParticipantSession(str(k), None, None, population="fetal") for k in range(3)]
    participant_sessions.append(ParticipantSession("9", None, None))
    (note,) = licenses.notes(settings, participant_sessions)
    assert "fetal brains" in note and "esearch use" in note
    refused = ParticipantSession("1", None, None, population="fetal", problem=InputError(None, "no"))
    assert licenses.notes(settings, [refused]) == []


def test_a_run_says_the_license_once(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    assert app(bids, tmp_path / "out", "participant", "--population", "fetal") == 0
    assert capsys.readouterr().out.count("The networks for fetal brains") == 1


def test_pages_of_fetuses_have_no_words_and_columns_of_adults(fetuses):
    run_group(fetuses)
    page, group = ((fetuses / f"{name}.html").read_text() for name in ("sub-1", "group"))
    for words in ("Usual range", "an adult brain", "expected Dice", "numbers of FreeSurfer"):
        assert words not in page, words
    columns = re.findall(r'<button type="button">([^<]*)</button>', group)
    assert "Gray matter" in columns and "Participant" in columns
    assert not {"Expected Dice", "Hippocampi", "Outliers"} & {*columns}


def test_csf_without_the_ventricles_is_called_so(fetuses):
    run_group(fetuses)
    assert "Outer CSF (mL)" in (fetuses / "sub-1.html").read_text()
    described = json.loads((fetuses / "group_volumes.json").read_text())
    assert "Without the ventricles" in described["CSF"]["Description"]
