"""The dataset: participant-sessions, references, choices and filters."""

import json

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import index, select
from brainseg.bidsapp.inputs.participants import years
from brainseg.models.errors import DatasetError, UsageError


@pytest.fixture
def bids(tmp_path):
    """A dataset of empty files: names are all that counts here."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')

    def add(*names):
        for name in names:
            parts = name.split("_")
            folder = root.joinpath(*[p for p in parts if p[:4] in ("sub-", "ses-")], "anat")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return root

    return add


def _select(root, *argv):
    return select.select(parse([str(root), str(root.parent / "out"), "participant", *map(str, argv)]))


def _references(selection):
    return {ps.key: ps.image.name if ps.image else None for ps in selection.participant_sessions}


def test_one_reference_for_each_participant_and_session(bids):
    root = bids(
        "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-2_T2w.nii.gz",
        "sub-02_FLAIR.nii.gz",
        "sub-02_run-10_T1w.nii.gz",
        "sub-02_run-2_T1w.nii",
        "sub-02_part-phase_T1w.nii.gz",
        "sub-10_PDw.nii.gz",
    )
    found = _select(root)
    assert _references(found) == {
        "sub-01_ses-1": "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-2": "sub-01_ses-2_T2w.nii.gz",
        "sub-02": "sub-02_run-2_T1w.nii",
        "sub-10": "sub-10_PDw.nii.gz",
    }
    assert [path.name for path in found.participant_sessions[2].left_out] == ["sub-02_run-10_T1w.nii.gz"]
    assert [path.name for path in found.participant_sessions[2].other_contrasts] == ["sub-02_FLAIR.nii.gz"]
    # switched off, other contrasts are left alone too
    alone = _select(root, "--steps", "no-coregistration").participant_sessions[2]
    assert [path.name for path in alone.left_out][1:] == ["sub-02_FLAIR.nii.gz"]
    assert alone.other_contrasts == []


def test_only_images_of_participants_are_looked_at(bids):
    root = bids("sub-01_T1w.nii.gz")
    for folder in ("derivatives/x/sub-01/anat", "sourcedata/sub-01/anat", "sub-01/func", "sub-01/.git"):
        (root / folder).mkdir(parents=True)
        (root / folder / "sub-01_acq-other_T1w.nii.gz").touch()
    (root / "derivatives" / "x" / "dataset_description.json").write_text("{")
    (root / "sub-01" / "anat" / "sub-01_T1w_copy.nii.gz").touch()
    found = _select(root)
    assert _references(found) == {"sub-01": "sub-01_T1w.nii.gz"}
    assert found.participant_sessions[0].left_out == []


def test_participants_by_label(bids):
    root = bids("sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-12_T1w.nii.gz")
    assert list(_references(_select(root, "--participant-label", "sub-02", "01"))) == ["sub-01", "sub-02"]
    with pytest.raises(UsageError) as caught:
        _select(root, "--participant-label", "1")
    assert "sub-1 (number of participants: 3)" in str(caught.value)
    assert "Nearest are sub-01" in str(caught.value)


def test_only_participants_with_a_folder_are_suggested(bids):
    root = bids("sub-01_T1w.nii.gz")
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-07\n")
    with pytest.raises(UsageError, match=r"Nearest are sub-01\.$"):
        _select(root, "--participant-label", "7")


def test_folders_of_participants_without_prefix_are_named(bids):
    root = bids()
    (root / "01" / "anat").mkdir(parents=True)
    (root / "code").mkdir()
    with pytest.raises(DatasetError, match=r"Found 01; BIDS wants names like sub-01\."):
        _select(root)


def test_sessions_by_label(bids):
    root = bids("sub-01_ses-a_T1w.nii.gz", "sub-01_ses-b_T1w.nii.gz", "sub-02_ses-a_T1w.nii.gz")
    found = _select(root, "--session-label", "b")
    assert list(_references(found)) == ["sub-01_ses-b"]
    assert "sub-02 has no such session" in found.notes[0]
    with pytest.raises(UsageError, match="Sessions there: ses-a, ses-b"):
        _select(root, "--session-label", "c")


def test_modalities(bids):
    root = bids("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz")
    found = _select(root, "--modalities", "t2w", "FLAIR")
    assert _references(found) == {"sub-01": "sub-01_T2w.nii.gz", "sub-02": None}
    assert "There are T1w" in str(found.participant_sessions[1].problem)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"acquisition": None}, "sub-01_run-01_T1w.nii.gz"),
        ({"acq": "*"}, "sub-01_acq-mprage_T1w.nii.gz"),
        ({"run": 2}, "sub-01_run-02_T1w.nii.gz"),
        ({"run": ["02", "3"]}, "sub-01_run-02_T1w.nii.gz"),
    ],
)
def test_filters(bids, tmp_path, query, expected):
    root = bids("sub-01_acq-mprage_T1w.nii.gz", "sub-01_run-01_T1w.nii.gz", "sub-01_run-02_T1w.nii.gz")
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"t1w": query, "bold": {"task": "rest"}}))
    found = _select(root, "--bids-filter-file", path)
    assert _references(found) == {"sub-01": expected}
    assert any("'bold'" in note for note in found.notes)
    assert any("of 3 images" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"t1w": {"acquisition": "nowhere"}}', ["no image", "sub-01_T1w.nii.gz"]),
        ('{"t1w": {"aquisition": "x"}}', ["aquisition", "acquisition"]),
        ('{"t1w": ', ["not valid JSON"]),
        ('{"t1w": 3}', ["must be a JSON object"]),
    ],
)
def test_a_filter_that_cannot_be_meant_is_an_error(bids, tmp_path, text, words):
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        _select(bids("sub-01_T1w.nii.gz"), "--bids-filter-file", path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_a_filter_file_that_does_not_exist_is_a_wrong_path(bids, tmp_path):
    with pytest.raises(UsageError, match=r"nofile.json: .*does not exist\. Check the path\."):
        _select(bids("sub-01_T1w.nii.gz"), "--bids-filter-file", tmp_path / "nofile.json")


@pytest.mark.slow
def test_the_index_is_kept_and_renewed(bids, tmp_path, monkeypatch):
    root, kept = bids("sub-01_T1w.nii.gz"), tmp_path / "index"
    made = []
    real = index._index
    monkeypatch.setattr(index, "_index", lambda *a: made.append(a) or real(*a))
    assert len(_select(root, "--bids-database-dir", kept).participant_sessions) == 1
    assert len(_select(root, "--bids-database-dir", kept).participant_sessions) == 1
    assert len(made) == 1
    bids("sub-02_T1w.nii.gz")
    assert all(ps.image for ps in _select(root, "--bids-database-dir", kept).participant_sessions)
    assert len(made) == 2
    (kept / index.DATABASE).write_text("damaged")
    assert len(_select(root, "--bids-database-dir", kept).participant_sessions) == 2
    assert [path.name for path in kept.iterdir()] == [index.DATABASE]
    with pytest.raises(UsageError, match="inside the dataset"):
        _select(root, "--bids-database-dir", root / "index")


def test_a_dataset_must_be_one(bids, tmp_path):
    root = bids()
    with pytest.raises(DatasetError, match="no participants"):
        _select(root)
    with pytest.raises(DatasetError, match=r"no dataset_description.json.*Did you mean .*bids\?$"):
        _select(tmp_path)
    (root / "dataset_description.json").write_text("{,}")
    with pytest.raises(
        DatasetError, match=r"dataset_description.json: it is not valid JSON \(line 1"
    ) as caught:
        _select(root)
    assert "remove it" not in str(caught.value)


def test_ages_from_the_tables(bids):
    root = bids("sub-01_T1w.nii.gz", "sub-02_ses-1_T1w.nii.gz", "sub-03_T1w.nii.gz", "sub-04_T1w.nii.gz")
    rows = ["participant_id\tAge\tsex", "sub-01\t89+\tF", "sub-02\tn/a\tM", "03\t9\tn/a", "sub-04\t0.5\tM"]
    (root / "participants.tsv").write_text("\n".join(rows))
    (root / "sub-02" / "sub-02_sessions.tsv").write_text("session_id\tage\nses-1\t30.5\n")
    participant_sessions = {ps.key: ps for ps in _select(root).participant_sessions}
    assert [ps.age for ps in participant_sessions.values()] == [89.0, 30.5, 9.0, 0.5]
    assert [ps.sex for ps in participant_sessions.values()] == ["F", "M", None, "M"]
    assert "trained on adults" in participant_sessions["sub-03"].notes[0]
    assert "no networks for infants" in str(participant_sessions["sub-04"].problem)
    assert _select(root, "--population", "adult").participant_sessions[3].problem is None


def test_ages_in_months_and_before_birth(bids):
    root = bids("sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz")
    (root / "participants.tsv").write_text(
        "participant_id\tage\tgestational_age\nsub-01\tn/a\t28\nsub-02\t480\tn/a\n"
    )
    (root / "participants.json").write_text('{"age": {"Units": "months"}}')
    first, second = _select(root).participant_sessions
    assert (first.problem, first.population, first.gestational_age) == (None, "fetal", 28)
    assert second.age == pytest.approx(40)


def test_sessions_of_fetuses_with_several_reconstructions(bids):
    """Each session has its own gestational age; of several reconstructions one is used."""
    names = [f"sub-01_ses-{s}_rec-{rec}_T2w.nii.gz" for s in (1, 2) for rec in ("nesvor", "srr")]
    root = bids(*names)
    table = "session_id\tgestational_age\nses-1\t24+0\nses-2\t30+3.5\n"
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(table)
    participant_sessions = _select(root).participant_sessions
    assert [(ps.population, ps.gestational_age) for ps in participant_sessions] == [
        ("fetal", 24.0),
        ("fetal", 30.5),
    ]
    assert [ps.image.name for ps in participant_sessions] == [names[0], names[2]]
    assert [path.name for path in participant_sessions[0].left_out] == [names[1]]
    wanted = root.parent / "filter.json"
    wanted.write_text('{"T2w": {"reconstruction": "srr"}}')
    chosen = _select(root, "--bids-filter-file", wanted).participant_sessions
    assert [ps.image.name for ps in chosen] == [names[1], names[3]]


def test_a_step_that_no_network_serves_is_told(bids):
    root = bids("sub-01_T1w.nii.gz")
    assert not any("corpuscallosum" in note for note in _select(root).participant_sessions[0].notes)
    (note,) = _select(root, "--steps", "corpuscallosum").participant_sessions[0].notes
    assert "corpuscallosum was left out" in note and "adult" in note


@pytest.mark.parametrize(
    ("text", "value"), [("25", 25), ("25,5", 25.5), (">89", 89), ("", None), ("old", None)]
)
def test_years(text, value):
    assert years(text) == value


def test_a_participant_without_images_fails_alone(bids):
    root = bids("sub-01_T1w.nii.gz")
    (root / "sub-02" / "func").mkdir(parents=True)
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-03\n")
    found = _select(root)
    assert _references(found) == {"sub-01": "sub-01_T1w.nii.gz", "sub-02": None}
    assert str(root / "sub-02") in str(found.participant_sessions[1].problem)
    listed = _select(root, "--participant-label", "03").participant_sessions[0]
    assert "participants.tsv lists" in str(listed.problem)


def test_a_letter_that_is_not_utf8_in_a_sidecar_loses_nobody(bids):
    root = bids("sub-01_T1w.nii.gz")
    sidecar = root / "sub-01" / "anat" / "sub-01_T1w.json"
    sidecar.write_bytes('{"InstitutionAddress": "K\xf6ln"}'.encode("latin-1"))
    (ps,) = _select(root).participant_sessions
    assert ps.problem is None
    assert ps.notes == ["sub-01_T1w.json is not UTF-8, as BIDS wants it: it was read as cp1252."]


def test_sidecars_by_inheritance(bids):
    root = bids("sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz", "sub-02_ses-1_T1w.nii.gz")
    (root / "T1w.json").write_text('{"EchoTime": 1}')
    (root / "T2w.json").write_text("broken, but of no image here")
    (root / "sub-01" / "sub-01_ses-2_T1w.json").write_text("{")
    problems = {ps.key: str(ps.problem or "") for ps in _select(root).participant_sessions}
    assert problems["sub-01_ses-1"] == problems["sub-02_ses-1"] == ""
    assert "sub-01_ses-2_T1w.json: it is not valid JSON" in problems["sub-01_ses-2"]
