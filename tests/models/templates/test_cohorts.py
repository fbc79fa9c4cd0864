"""Templates by gestational age: cohorts in folders, which of them an age gets, and those that cannot be."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.interfaces import registration as registering
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.registration import reference
from brainseg.models.templates import bundled, cohorts, spaces
from brainseg.workflows.registration import init_registration_wf

WEEKS = {"unit": "gestational weeks"}


def image(path: Path, size: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(size * 400, dtype=np.int32).reshape(size, 20, 20)
    nib.save(nib.Nifti1Image(data, np.diag([3, 3, 3, 1])), path)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """TemplateFlow with images for 28 and 30 weeks, and a name without content for 22."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    root = tmp_path / "tf" / "tpl-CRL"
    for week in (28, 30):
        image(root / f"cohort-{week}" / f"tpl-CRL_cohort-{week}_T2w.nii.gz", week)
    (root / "cohort-22").mkdir()
    (root / "cohort-22" / "tpl-CRL_cohort-22_T2w.nii.gz").touch()
    return tmp_path / "tf"


@pytest.fixture
def flat(tmp_path) -> Path:
    """Files side by side in a folder."""
    for week in (24, 26):
        image(tmp_path / "mine" / f"tpl-CRL_cohort-{week}_T2w.nii.gz", week)
    image(tmp_path / "mine" / "tpl-CRL_cohort-26_desc-brain_mask.nii.gz", 26)
    return tmp_path / "mine"


def test_a_templateflow_folder_is_chosen_by_age(home):
    assert spaces.by_age(spaces.parse("CRL")) == {"28": 28.0, "30": 30.0}
    assert spaces.find(spaces.parse("CRL")).image.name == "tpl-CRL_cohort-28_T2w.nii.gz"
    for age, cohort in ((21.0, 28), (28.9, 28), (29.2, 30)):
        found = registering.with_cohort("CRL", "fetal", WEEKS | {"age": age})
        assert found == f"CRL:cohort-{cohort}"
        assert reference.grid_of(found).shape[0] == cohort
    assert registering.with_cohort("CRL:cohort-30", "fetal", None) == "CRL:cohort-30"


def test_a_folder_of_ones_own_is_chosen_by_age(flat, home):
    text = f"Mine={flat}"
    found = registering.with_cohort(text, "fetal", WEEKS | {"age": 25.6})
    space = spaces.parse(found)
    assert found == f"Mine:cohort-26={flat}" and space.entities == "space-Mine_cohort-26"
    assert spaces.find(space).mask.name == "tpl-CRL_cohort-26_desc-brain_mask.nii.gz"
    assert spaces.by_age(spaces.parse(f"CRL={home / 'tpl-CRL'}")) == {"28": 28.0, "30": 30.0}
    with pytest.raises(MissingFileError, match=r"cohorts: 24, 26"):
        spaces.find(spaces.parse(f"Mine:cohort-99={flat}"))
    with pytest.raises(UsageError, match="needs a cohort"):
        reference.grid_of(text)


def test_a_far_cohort_is_told():
    asked, age = "CRL", WEEKS | {"age": 22.0}
    assert registering._distance_notes(asked, "CRL:cohort-28", None) == []
    assert registering._distance_notes("BrainsegFetal", "BrainsegFetal:cohort-22", age) == []


def test_a_far_cohort_in_a_folder_is_told(home):
    (note,) = registering._distance_notes("CRL", "CRL:cohort-28", WEEKS | {"age": 22.0})
    assert "of 28 weeks; the brain has 22.0 weeks" in note
    assert registering._distance_notes("CRL", "CRL:cohort-28", WEEKS | {"age": 28.7}) == []


def test_ages_are_those_of_the_description(home):
    root = home / "tpl-CRL"
    about = {"28": {"age": [22, 24], "units": "weeks"}, "30": {"age": 196, "units": "days"}}
    (root / "template_description.json").write_text(json.dumps({"cohort": about}))
    assert spaces.by_age(spaces.parse("CRL")) == {"28": 23.0, "30": 28.0}
    (root / "template_description.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        spaces.find(spaces.parse("CRL"))


def test_other_ages_want_a_name(home):
    months = {str(k): {"age": [k, k + 1], "units": "months"} for k in (15, 16)}
    root = home / "tpl-MNIInfant"
    for k in months:
        image(root / f"cohort-{k}" / f"tpl-MNIInfant_cohort-{k}_T1w.nii.gz")
    (root / "template_description.json").write_text(json.dumps({"cohort": months}))
    with pytest.raises(UsageError, match="none was named"):
        spaces.find(spaces.parse("MNIInfant"))
    assert cohorts.weeks(root / "none", ["1", "2"]) == {}


@pytest.mark.parametrize("text", ["CRL", "BrainsegFetal"])
def test_who_is_born_gets_no_week(home, text):
    with pytest.raises(InputError, match=f"{text} needs a gestational age.*population is adult"):
        init_registration_wf(templates=(text,))
    with pytest.raises(InputError, match="the age is unknown"):
        registering.with_cohort(text, "fetal", None)
    assert registering.check_cohort(f"{text}:cohort-28", "adult") is None
    assert registering.check_cohort(text, "fetal") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("BrainsegFetal:cohort-99", "no cohort 99.*21 to 38"),
        ("BrainsegFetal:cohort-20", "no cohort 20"),
        ("BrainsegFetal:cohort-28sb", "no cohort 28sb.*21sb to 25sb"),
        ("BrainsegFetal:cohort-24sbop", "no cohort 24sbop.*25sbop to 33sbop"),
        ("BrainsegFetal:cohort-abc", "no cohort abc"),
        ("BrainsegFetal:cohort-28:res-2", "1 mm .*Write BrainsegFetal:cohort-28"),
    ],
)
def test_cohorts_that_cannot_be_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        spaces.find(spaces.parse(text))


@pytest.mark.parametrize(
    "text", ["", ":cohort-21", ":cohort-38", ":cohort-25sb", ":cohort-33sbop", ":res-01"]
)
def test_cohorts_that_can_be_are_not(text):
    assert spaces.find(spaces.parse(f"BrainsegFetal{text}")) is None


def test_folders_that_hold_no_template_or_several(tmp_path, flat):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no template files"):
        spaces.find(spaces.parse(f"CRL={tmp_path / 'empty'}"))
    image(flat / "tpl-Other_T1w.nii.gz")
    with pytest.raises(UsageError, match="several templates"):
        spaces.find(spaces.parse(f"Mine={flat}"))
    assert spaces.find(spaces.parse(f"Other={flat}")).image.name == "tpl-Other_T1w.nii.gz"
    with pytest.raises(UsageError, match="this is a file"):
        spaces.find(spaces.parse(f"Mine:cohort-2={flat / 'tpl-Other_T1w.nii.gz'}"))


@pytest.mark.parametrize("cohort", ["22", "28", "24sb", "30sbop"])
def test_the_brain_of_a_template_by_age_does_not_touch_the_edges_of_its_box(cohort):
    mask = bundled.load(f"BrainsegFetal+{cohort}").mask.data
    assert int(mask[1:-1, 1:-1, 1:-1].sum()) == int(mask.sum()) > 50_000
