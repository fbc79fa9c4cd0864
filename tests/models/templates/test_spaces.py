"""Output spaces: what may be named, what is found, and how to get what is missing."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.config.settings import build
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.registration import reference
from brainseg.models.templates import catalog, spaces


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "tf"


def image(path: Path, value: float = 100.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros((24, 24, 24), np.float32)
    data[6:18, 6:18, 6:18] = value + np.arange(12)
    nib.save(nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), path)
    return path


@pytest.mark.parametrize(
    "text, label, entities",
    [
        ("MNI152NLin2009cAsym", "MNI152NLin2009cAsym", "space-MNI152NLin2009cAsym"),
        ("MNI152NLin2009cAsym:res-01", "MNI152NLin2009cAsym", "space-MNI152NLin2009cAsym"),
        ("MNI152NLin2009cAsym:res-2", "MNI152NLin2009cAsym", "space-MNI152NLin2009cAsym_res-2"),
        ("MNI152NLin2009aSym:res-1:", "MNI152NLin2009aSym", "space-MNI152NLin2009aSym"),
        ("MNIInfant:cohort-2:res-01", "MNIInfant+2", "space-MNIInfant_cohort-2_res-1"),
        ("Mine=/a/b.nii.gz", "Mine", "space-Mine"),
        ("CRL:cohort-28=/a/tpl-CRL", "CRL+28", "space-CRL_cohort-28"),
    ],
)
def test_names_of_files(text, label, entities):
    space = spaces.parse(text)
    assert (space.label, space.entities) == (label, entities)
    assert spaces.parse(str(space)) == space


@pytest.mark.parametrize(
    "text",
    [
        "",
        "My-Template",
        "MNIInfant:2",
        "MNIInfant:cohort-",
        "A:den-10k",
        "A:res-1:res-2",
        "=x.nii.gz",
        "A b=x",
    ],
)
def test_what_is_no_space_is_refused(text):
    with pytest.raises(UsageError, match="--output-spaces"):
        spaces.parse(text)


def test_the_embedded_template_needs_no_file(home):
    assert spaces.find(spaces.parse(spaces.DEFAULT)) is None
    with pytest.raises(UsageError, match="one cohort and 1 mm"):
        spaces.parse(f"{spaces.DEFAULT}:res-3")
    with pytest.raises(UsageError, match="1 mm"):
        spaces.parse("MNI152NLin2009aSym:res-2")


@pytest.mark.parametrize(("text", "step", "shape"), [("", 1, (193, 229, 193)), (":res-2", 2, (97, 115, 97))])
def test_the_embedded_template_has_templateflows_grids(home, text, step, shape):
    grid = reference.grid_of(f"MNI152NLin2009cAsym{text}")
    assert grid.shape == shape
    expected = np.diag([step, step, step, 1.0])
    expected[:3, 3] = -96, -132, -78
    assert np.array_equal(grid.affine, expected)


def test_what_is_missing_is_told_with_the_command(home):
    with pytest.raises(MissingFileError, match="not on this machine") as caught:
        spaces.find(spaces.parse("MNIInfant:cohort-3:res-2"))
    assert "brainseg templates get MNIInfant:cohort-3:res-2" in caught.value.remedy
    with pytest.raises(MissingFileError, match="missing image of the template"):
        spaces.find(spaces.parse("Mine=/nowhere/T.nii.gz"))


def test_a_name_that_templateflow_does_not_know_is_answered_with_the_nearest(home, monkeypatch):
    monkeypatch.setattr(catalog, "of_templateflow", lambda: ["OASIS30ANTs", "MNIInfant"])
    with pytest.raises(MissingFileError, match="TemplateFlow has none of that name") as caught:
        spaces.find(spaces.parse("OASIS30"))
    assert caught.value.remedy.startswith("Nearest are OASIS30ANTs")
    with pytest.raises(MissingFileError) as caught:
        spaces.find(spaces.parse("Qqq"))
    assert caught.value.remedy == "See brainseg templates list"
    monkeypatch.setattr(catalog, "of_templateflow", list)
    with pytest.raises(MissingFileError) as caught:
        spaces.find(spaces.parse("OASIS30"))
    assert caught.value.remedy == "Run: brainseg templates get OASIS30"


def test_the_list_of_templateflow_is_read_without_its_client():
    pytest.importorskip("templateflow")
    assert {"MNI152NLin2009cAsym", "OASIS30ANTs"} <= set(catalog.of_templateflow())


def test_files_of_a_template(home):
    folder = home / "tpl-MNIInfant" / "cohort-2"
    stem = "tpl-MNIInfant_cohort-2"
    for resolution in (1, 2):
        image(folder / f"{stem}_res-{resolution}_T1w.nii.gz")
    image(folder / f"{stem}_res-2_desc-brain_mask.nii.gz", 1)
    # TemplateFlow's skeleton: a name without content.
    (folder / f"{stem}_res-1_desc-brain_mask.nii.gz").touch()
    found = spaces.find(spaces.parse("MNIInfant:cohort-2"))
    assert found.image.name.endswith("res-1_T1w.nii.gz") and found.mask is None
    found = spaces.find(spaces.parse("MNIInfant:cohort-2:res-2"))
    assert found.image.name.endswith("res-2_T1w.nii.gz")
    assert found.mask.name.endswith("res-2_desc-brain_mask.nii.gz")
    with pytest.raises(UsageError, match="cohort-2"):
        spaces.find(spaces.parse("MNIInfant"))
    with pytest.raises(MissingFileError):
        spaces.find(spaces.parse("MNIInfant:cohort-2:res-3"))


def test_a_template_of_ones_own_with_its_labels(home, tmp_path):
    path = image(tmp_path / "own" / "mine_T1w.nii.gz")
    image(tmp_path / "own" / "mine_desc-brain_mask.nii.gz", 1)
    labels = np.zeros((24, 24, 24), np.int16)
    labels[8:12, 8:12, 8:12] = 17
    target = tmp_path / "own" / "mine_desc-aseg_dseg.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.diag([4.0, 4, 4, 1])), target)
    found = reference.load(f"Mine={path}")
    assert found.centroids == {17: (38.0, 38.0, 38.0)}
    assert found.image.grid.shape == (24, 24, 24)
    assert reference.grid_of(f"Mine={path}").shape == (24, 24, 24)
    nib.save(nib.Nifti1Image(labels[:-1], np.diag([4.0, 4, 4, 1])), target)
    reference.load.cache_clear()
    with pytest.raises(InputError, match="not on the grid of its template"):
        reference.load(f"Mine={path}")


@pytest.mark.slow
def test_labels_are_found_once(home, tmp_path, monkeypatch):
    calls = []

    def segment(volume, mask, population, **_):
        calls.append(1)
        labels = (volume.data > 0).short() * 10
        return type("Found", (), {"structures": volume.with_data(labels), "probabilities": {}})

    monkeypatch.setattr(reference.segmentation, "segment", segment)
    path = image(tmp_path / "T.nii.gz")
    image(tmp_path / "T_desc-brain_mask.nii.gz", 1)
    for _ in range(2):
        reference.load.cache_clear()
        assert set(reference.load(f"Mine={path}").centroids) == {10}
    assert len(calls) == 1
    assert [p.name[:5] for p in reference.folder().iterdir()] == ["Mine-"]


@pytest.mark.slow
def test_the_embedded_templates_labels_come_with_the_program():
    found = reference.load(spaces.DEFAULT)
    assert len(found.centroids) > 25
    assert set(found.probabilities) == {"GM", "WM", "CSF"}
    template = found.structures.data > 0
    both = (template & (found.mask.data > 0)).sum() * 2 / (template.sum() + (found.mask.data > 0).sum())
    assert both > 0.9


def test_settings_take_several_spaces(tmp_path):
    def settings(*texts):
        given = {"bids_dir": tmp_path, "output_dir": tmp_path / "o", "analysis_level": ["participant"]}
        return build(given | {"output_spaces": list(texts)}, {}).output_spaces

    assert settings("MNIInfant:cohort-02", spaces.DEFAULT, spaces.DEFAULT) == (
        "MNIInfant:cohort-2",
        spaces.DEFAULT,
    )
    with pytest.raises(UsageError, match="same names"):
        settings("A=/x.nii.gz", "A=/y.nii.gz")
    with pytest.raises(UsageError, match="one resolution"):
        settings("MNIInfant:cohort-2:res-1", "MNIInfant:cohort-2:res-2")
