"""Who is taken as unborn, by the tables or the reconstruction, and which image is then the reference."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import select
from brainseg.bidsapp.inputs.participants import Demographics, Person
from brainseg.bidsapp.inputs.population import population_of
from brainseg.models.errors import InputError
from brainseg.models.localization import head as coarse
from brainseg.models.population.age_parsing import weeks
from brainseg.models.population.populations import WEEKS

T2W, RECONSTRUCTED = Path("sub-1_T2w.nii.gz"), Path("sub-1_rec-srr_T2w.nii.gz")


@pytest.fixture
def tables(tmp_path):
    """Writes tables of a dataset, their columns parted by ``|``, and reads them."""

    def write(participants="", units=None, **more):
        files = {"participants.tsv": participants.replace("|", "\t"), "participants.json": units or "{}"}
        files |= {name.replace("__", "."): text.replace("|", "\t") for name, text in more.items()}
        for name, text in files.items():
            folder = tmp_path / ("sub-1" if name.startswith("sub-1") else "")
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        return Demographics(tmp_path)

    return write


@pytest.fixture
def scans(tmp_path):
    """A dataset of one fetus with scans, of slices as thick as given (mm), and a table."""

    def write(table="gestational_age\n28", **thickness):
        head, value = table.split("\n")
        (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
        (tmp_path / "participants.tsv").write_text(f"participant_id\t{head}\nsub-01\t{value}\n")
        folder = tmp_path / "sub-01" / "anat"
        folder.mkdir(parents=True)
        for name, mm in thickness.items():
            image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.diag([0.8, 0.8, mm, 1]))
            nib.save(image, folder / f"sub-01_{name.replace('__', '-')}.nii.gz")
        return tmp_path

    return write


def _participant_session(root, *more):
    argv = [str(root), str(root.parent / "out"), "participant", *more]
    return select.select(parse(argv)).participant_sessions[0]


@pytest.mark.parametrize(
    "text",
    ["28+3", "28w3d", "28 weeks 3 days", "28W3D", "28+3/7", "28 3/7", "28+3w", "GA28+3", "28w+3d", "199 d"],
)
def test_weeks_and_days_as_people_write_them(text):
    assert weeks(text) == pytest.approx(28 + 3 / 7)


@pytest.mark.parametrize(
    ("text", "found"),
    [("28 weeks", 28), ("28wks", 28), ("28,4", 28.4), ("GA28", 28), ("28 4", None), ("28+8", None)],
)
def test_weeks_alone_and_what_is_none(text, found):
    assert weeks(text) == found


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((name, "28") for name in ("Gestational age", "GestationalAge", "GA (weeks)", "ga_at_scan")),
        *(("gestational_age_at_scan", "28"), ("gestational_age_days", "196"), ("GA days", "196")),
    ],
)
def test_columns_of_gestational_age(tables, column, value):
    person = tables(f"participant_id|{column}\nsub-1|{value}")("1", None)
    assert person.weeks == pytest.approx(28)
    assert population_of("auto", person, T2W) == ("fetal", None)


@pytest.mark.parametrize("column", ["ga_at_birth", "gestational_age_at_birth", "birth_age"])
def test_ages_at_birth_make_nobody_a_fetus(tables, column):
    person = tables(f"participant_id|{column}\nsub-1|28")("1", None)
    assert population_of("auto", person, T2W) == ("adult", None)


@pytest.mark.parametrize("label", ["mial", "mialsr", "ebner", "bestreco", "irtk"])
def test_reconstructions_of_fetal_datasets(label):
    name, note = population_of("auto", Person(), Path(f"sub-1_rec-{label}_T2w.nii.gz"))
    assert name == "fetal" and f"({label})" in note


@pytest.mark.parametrize("text", ["n/a", "", "about 28"])
def test_a_missing_age_among_gestational_ones_is_a_fetus(tables, text):
    name, note = population_of("auto", tables(f"participant_id|ga\n1|{text}\n2|30")("1", None), T2W)
    assert name == "fetal" and "gestational ages only" in note and "--population adult" in note
    assert ("'about 28' could not be read" in note) == (text == "about 28")


def test_a_missing_age_among_others_is_no_fetus(tables):
    """Grown-ups who were born early: the table has gestational ages, at birth."""
    person = tables("participant_id|age|gestational_age\n1|n/a|n/a\n2|30|27")("1", None)
    assert population_of("auto", person, T2W) == ("adult", None)
    assert population_of("auto", tables("participant_id|ga\n1|EUR")("1", None), T2W)[0] == "adult"


def test_both_ages_are_kept_and_the_conflict_is_told(tables):
    person = tables("participant_id|age|gestational_age\n1|32|27")("1", None)
    assert (person.age, person.weeks) == (32, 27)
    name, note = population_of("auto", person, T2W)
    assert name == "adult" and "--population fetal" in note
    assert population_of("auto", person, Path("sub-1_T1w.nii.gz")) == ("adult", None)
    name, note = population_of("auto", person, RECONSTRUCTED)
    assert name == "fetal" and "mother's" in note
    newborn = Person(age=0.0, weeks=27.0)
    with pytest.raises(InputError, match=r"infants.*with --population fetal, if the scan was before birth"):
        population_of("auto", newborn, RECONSTRUCTED)


def test_an_age_in_weeks_is_that_of_a_fetus_who_is_said_to_be_one(tables):
    rows = "participant_id|age\n1|28"
    person = tables(rows, '{"age": {"Units": "gestational weeks"}}')("1", None)
    assert (person.age, person.weeks) == (None, 28)
    person = tables(rows, '{"age": {"Units": "weeks"}}')("1", None)
    assert person.age == pytest.approx(28 / 52.18) and (person.weeks, person.age_in(WEEKS)) == (None, 28)
    with pytest.raises(InputError, match="--population fetal"):
        population_of("auto", person, T2W)
    assert "outside" in population_of("fetal", Person(age=1.0, maybe=52.0), T2W)[1]


def test_ages_that_are_counted_alike_before_and_after_birth(tables):
    person = tables("participant_id|scan_age\n1|28")("1", None)
    name, note = population_of("auto", person, T2W)
    assert name == "adult" and "--population fetal" in note
    assert population_of("auto", person, RECONSTRUCTED)[0] == "fetal" and person.age_in(WEEKS) == 28


def test_rows_for_every_session(tables):
    people = tables("participant_id|session_id|gestational_age\n1|ses-1|24\n1|ses-2|33\n2|n/a|30")
    assert [people("1", s).weeks for s in ("1", "2", "3")] == [24, 33, None]
    assert people("1", "3").fetal and people("2", "1").weeks == 30
    assert list(people.people) == ["1", "2"]


def test_units_are_looked_up_near_first(tables):
    rows = {"sub-1_sessions__tsv": "session_id|gestational_age\nses-1|199"}
    days, in_weeks = (json.dumps({"gestational_age": {"Units": unit}}) for unit in ("days", "weeks"))
    assert tables("", days, **rows)("1", "1").weeks == pytest.approx(199 / 7)
    assert tables("", days, **rows, sessions__json=in_weeks)("1", "1").weeks == 199
    own = {"sub-1_sessions__json": days}
    assert tables("", "{}", **rows, **own, sessions__json=in_weeks)("1", "1").weeks == pytest.approx(199 / 7)


def test_days_without_a_unit_are_asked_about():
    with pytest.raises(InputError, match=r'Are these days.*"Units": "days"'):
        population_of("auto", Person(weeks=199.0), T2W)


def test_the_reconstruction_is_the_reference(scans):
    root = scans(**{"acq__haste_run__1_T2w": 4, "T1w": 4, "rec__svr_T2w": 0.8, "rec__nesvor_T2w": 4})
    participant_session = _participant_session(root)
    assert (
        participant_session.image.name == "sub-01_rec-svr_T2w.nii.gz"
        and participant_session.population == "fetal"
    )
    assert any("not used: sub-01_rec-nesvor_T2w.nii.gz" in note for note in participant_session.notes)
    assert _participant_session(root, "--subject-anatomical-reference", "unbiased").averaged == []
    assert _participant_session(root, "--population", "adult").image.name == "sub-01_T1w.nii.gz"


def test_a_reconstruction_beside_an_adults_scan_is_only_told(scans):
    participant_session = _participant_session(scans("sex\nF", T1w=0.8, rec__srr_T2w=0.8))
    assert (participant_session.image.name, participant_session.population) == ("sub-01_T1w.nii.gz", "adult")
    assert any("--population fetal" in note for note in participant_session.notes)


def test_a_mothers_age_is_not_the_fetus(scans):
    root = scans("age\tgestational_age\n32\t27", T2w=0.8)
    participant_session = _participant_session(root, "--population", "fetal")
    assert (participant_session.age, participant_session.age_unit) == (27, WEEKS)
    assert (_participant_session(root).age, _participant_session(root).age_unit) == (32, "years")


def test_no_brain_in_a_head_may_be_a_fetus():
    assert "--population fetal" in str(coarse.no_brain())
