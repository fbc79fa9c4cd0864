"""Ages, ids and columns of tables as people write them: an infant is never taken for an adult in silence."""

import json

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import select
from brainseg.bidsapp.inputs.participants import Demographics


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset of participants (``sub-01``, ``sub-01_ses-1``) with tables, by path."""

    def make(*keys, **tables):
        root = tmp_path / "bids"
        for key in keys or ("sub-01",):
            path = root.joinpath(*key.split("_"), "anat", f"{key}_T1w.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
        for name, text in tables.items():
            path = root / name.replace("___", "/").replace("__", ".")
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return root

    return make


def _select(root, *argv):
    return select.select(parse([str(root), str(root.parent / "out"), "participant", *map(str, argv)]))


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *((text, 0.5) for text in ("0.5", "0,5", "006M", "6 months", "6mo", "6 m", "P6M", "0y6m", "0;6")),
        *((text, 45.0) for text in ("45", "045Y", "45 years", "45 yrs", "45 y/o", "~45", "40-50", "40–50 y")),
        *((text, 89.0) for text in ("89+", ">89", "89 or older", ">= 89")),
        *((text, 1.5) for text in ("1 year, 6 months", "18 mos.", "1.5 years old")),
        *((text, None) for text in ("n/a", "-999", "999", "old", "6 moons", "Mar-04")),
    ],
)
def test_ages_as_people_write_them(dataset, text, age):
    person = Demographics(dataset(participants__tsv=f"participant_id\tage\nsub-01\t{text}\n"))("01", None)
    assert person.age == (age if age is None else pytest.approx(age))
    assert bool(person.unread) == (text in ("old", "6 moons", "Mar-04"))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("age_months", "6"), ("Age (months)", "6"), ("ageInMonths", "6"), ("age_at_scan_mo", "6")),
        *(("age_weeks", "26.09"), ("age_days", "182.625"), ("AGE_YRS", "0.5"), ("age_at_mri", "0.5")),
        *(("age_range", "0-1"), ("age (5-year bins)", "0-1")),
    ],
)
def test_columns_with_the_unit_in_their_name(dataset, column, text):
    root = dataset(participants__tsv=f"participant_id\t{column}\nsub-01\t{text}\n")
    assert Demographics(root)("01", None).age == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("column", ["age_at_onset", "age_at_birth", "maternal_age", "age_group"])
def test_other_ages_are_not_that_at_the_scan(dataset, column):
    root = dataset(participants__tsv=f"participant_id\t{column}\nsub-01\t1\n")
    assert Demographics(root)("01", None).age is None


@pytest.mark.parametrize(
    "described",
    [{"Units": "months"}, {"Units": "mo"}, {"Description": "Age in months"}, {"Description": "age (months)"}],
)
def test_units_in_the_json_file_in_any_words(dataset, described):
    table = "participant_id\tAge\nsub-01\t6\n"
    root = dataset(participants__tsv=table, participants__json=json.dumps({"Age": described}))
    assert Demographics(root)("01", None).age == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        b"participant_id\tage\tsite\nsub-01\t0.5\tK\xf6ln\n",
        "participant_id\tage\nsub-01\t0.5\n".encode("utf-16"),
        b'\xef\xbb\xbf"participant_id"\t"age"\r\n"sub-01"\t"0.5"\r\n',
        b'participant_id,age,site\nsub-01,0.5,"K, B"\n',
        b"participant_id;age\nsub-01;0,5\n",
        b"participant_id age\nsub-01 0.5\n",
        *(f"participant_id\tage\n{text}\t0.5\n".encode() for text in ("1", "01", "1.0", "SUB-01", "sub-001")),
        *(f"{name}\tage\nsub-01\t0.5\n".encode() for name in ("Participant ID", "subject_id", "subject")),
    ],
)
def test_tables_as_people_save_them(dataset, table):
    found = _select(dataset(participants__tsv=table))
    assert "its age is 0.5 years" in str(found.participant_sessions[0].problem)


@pytest.mark.parametrize(
    ("cells", "age"), [("2\t6", 2.5), ("2\t30", 2.0), ("2.5\t30", 2.5), ("0\t6", 0.5), ("n/a\t6", 0.5)]
)
def test_years_and_the_months_beyond_them(dataset, cells, age):
    root = dataset(
        participants__tsv=f"# from a database\nparticipant_id\tage_years\tage_months\nsub-01\t{cells}\n"
    )
    assert Demographics(root)("01", None).age == age


def test_a_gestational_age_in_the_wrong_column_is_told_where_it_belongs(dataset):
    (ps,) = _select(dataset(participants__tsv="participant_id\tage\nsub-01\t28+3\n")).participant_sessions
    assert any("belongs in a column gestational_age" in note for note in ps.notes)


def test_a_table_of_another_name_is_read_or_told(dataset):
    root = dataset(participants__csv="participant_id,age\nsub-01,0.5\n")
    assert Demographics(root)("01", None).age == 0.5
    assert any("participants.csv was read" in note for note in _select(root).notes)
    (root / "participants.csv").rename(root / "participants.xlsx")
    found = _select(root)
    assert any("participants.xlsx is not read" in note for note in found.notes)
    assert any("No readable age for 1 of 1" in note for note in found.notes)


def test_an_id_that_could_be_two_participants_is_neither(dataset):
    table = "participant_id\tage\n1\t0.5\n02\t30\n"
    people = Demographics(dataset("sub-01", "sub-001", "sub-2", participants__tsv=table))
    assert [people(label, None).age for label in ("01", "001", "2")] == [None, None, 30]
    assert people.without_folder == {"1"}
    assert people.notes == [
        "'02' in participants.tsv was taken as sub-2.",
        "participants.tsv lists participants without a folder, left out (1): sub-1.",
    ]


def test_what_was_guessed_or_left_out_of_the_table_is_told_once(dataset):
    rows = ["sub-01\t34.5y\tF", "02\t90+\tM", "sub-99\t20\tM", "sub-03\t34,5\tF", "sub-04\tn/a\tF"]
    table = "\n".join(["participant_id\tAge\tsex", *rows])
    root = dataset("sub-01", "sub-02", "sub-03", "sub-04", participants__tsv=table)
    assert Demographics(root).notes == [
        "'02' in participants.tsv was taken as sub-02.",
        "participants.tsv lists participants without a folder, left out (1): sub-99.",
        "Ages in participants.tsv were read as years: '34.5y' as 34.5, '90+' as 90.",
    ]


def test_an_age_in_years_is_not_used_for_a_fetus(dataset):
    found = _select(dataset(participants__tsv="participant_id\tage\nsub-01\t34.5\n"), "--population", "fetal")
    assert "No gestational age (weeks) for 1 of 1 (sub-01): check the tables." in found.notes
    (ps,) = found.participant_sessions
    assert "The age of 34.5 years is no gestational age (weeks) and is not used." in ps.notes
    assert not any("no readable age" in note for note in ps.notes)


@pytest.mark.parametrize(("column", "first"), [("session_id", "ses-1"), ("session", "1"), ("Visit", "01")])
def test_every_session_of_a_long_table_has_its_own_age(dataset, column, first):
    table = f"participant_id\t{column}\tage\nsub-01\t{first}\t0.8\nsub-01\tses-2\t30\nsub-01\t3\t31\n"
    root = dataset("sub-01_ses-1", "sub-01_ses-2", "sub-01_ses-3", participants__tsv=table)
    assert [ps.age for ps in _select(root).participant_sessions] == [0.8, 30, 31]


def test_ages_in_the_tables_of_sessions_and_scans(dataset):
    root = dataset(
        "sub-01_ses-01",
        "sub-02_ses-1",
        "sub-03",
        **{
            "sub-01___sub-01_sessions__tsv": "session\tage_months\n1\t6\n",
            "sub-02___ses-1___sub-02_ses-1_scans__tsv": "filename\tage\nanat/sub-02_ses-1_T1w.nii.gz\t7\n",
            "sub-03___sub-03_scans__tsv": "filename\tage_days\nfunc/x\t1\nanat/sub-03_T1w.nii.gz\t3652.5\n",
        },
    )
    assert [ps.age for ps in _select(root).participant_sessions] == [0.5, 7, 10]


def test_rows_that_contradict_each_other_give_no_age(dataset):
    found = _select(dataset(participants__tsv="participant_id\tage\nsub-01\t0.5\nsub-01\t30\n"))
    (ps,) = found.participant_sessions
    assert ps.age is None
    assert any("2 rows for sub-01 with different ages" in note for note in ps.notes)
    table = "participant_id\tsession_id\tage\nsub-01\tses-1\t30\n"
    (ps,) = _select(dataset("sub-01_ses-2", participants__tsv=table)).participant_sessions[1:]
    assert ps.age == 30 and any("that of another session" in note for note in ps.notes)


@pytest.mark.parametrize("age", ["n/a", "six", "", "999"])
def test_a_table_without_a_readable_age_is_told(dataset, age):
    table = f"participant_id\tage\nsub-01\t{age}\nsub-02\t30\n"
    found = _select(dataset("sub-01", "sub-02", participants__tsv=table))
    assert "No readable age for 1 of 2 (sub-01): taken as adult; see --population." in found.notes
    first, second = found.participant_sessions
    assert any("no readable age in the dataset's tables: taken as adult" in note for note in first.notes)
    assert second.notes == []


def test_without_tables_it_is_told_that_no_age_is_known(dataset):
    found = _select(dataset())
    said = "No ages are known (there is no participants.tsv): taken as adult; see --population."
    assert found.notes == [said] and found.participant_sessions[0].notes == []
    assert _select(dataset(), "--population", "adult").notes == []
    (longer,) = _select(dataset("sub-01_ses-6mo")).notes
    assert longer.startswith(said) and "'6mo' is an age" in longer


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("age_months", "0.5", "0.5 months"),
        ("age_months", "12", "12 months"),
        ("age", "1", "1 year"),
        ("age", "006M", "006M"),
        ("age", "0,8", "0.8 years"),
    ],
)
def test_an_age_is_told_in_the_units_of_the_table(dataset, column, cell, said):
    found = _select(dataset(participants__tsv=f"participant_id\t{column}\nsub-01\t{cell}\n"))
    assert f"its age is {said}, and" in str(found.participant_sessions[0].problem)


def test_whose_age_is_read_or_refused_is_not_told_to_lack_one(dataset):
    table = "participant_id\tgestational_age\nsub-01\t45\nsub-02\tn/a\n"
    found = _select(dataset("sub-01", "sub-02", participants__tsv=table))
    first, second = found.participant_sessions
    assert "insist with --population fetal." in str(first.problem) and first.notes == []
    assert [note for note in found.notes if "age" in note] == [
        "No gestational age (weeks) for 1 of 1 (sub-02): check the tables."
    ]
    assert not any("taken as adult" in note for note in second.notes)
    found = _select(dataset("sub-01", "sub-02", participants__tsv=table), "--population", "adult")
    assert [note for note in found.notes if "age" in note] == [
        "No readable age for 1 of 2 (sub-02): check the tables."
    ]
