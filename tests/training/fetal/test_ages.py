"""Ages before birth: who is fetal, template and usual volumes of an age, the age where it is missing."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.inputs import participants, population
from brainseg.bidsapp.reports.sections import growth as pages
from brainseg.bidsapp.status.facts import facts_of
from brainseg.interfaces import growth as ages
from brainseg.interfaces import registration as registering
from brainseg.models.errors import InputError, UsageError
from brainseg.models.population import cards, growth, labels, populations
from brainseg.models.preprocessing import thick_slices
from brainseg.models.templates import age_template, bundled, catalog


def test_the_shipped_growth_curves():
    curves = growth.load("fetal")
    white = curves.curves[2]
    assert white.at(22) < white.at(28) < white.at(36)
    assert white.at(28, -2) < white.at(28) < white.at(28, 2)
    middle = {index: curve.at(28) for index, curve in curves.curves.items()}
    assert curves.estimate(middle, "fetal") == pytest.approx(28, abs=1.5)
    assert curves.estimate({6: 0.0}, "fetal") is None


@pytest.mark.slow
def test_the_template_grows():
    young, old = bundled.load("BrainsegFetal+22"), bundled.load("BrainsegFetal+36")
    for template in (young, old):
        assert template.image.grid.spacing.tolist() == [1.0, 1.0, 1.0]
        left, right = template.centroids[9], template.centroids[48]
        assert left[0] == pytest.approx(-right[0], abs=0.1) and left[0] < 0
        assert template.centroids[6][2] < template.centroids[2][2]
    assert 4 < float(old.mask.data.sum()) / float(young.mask.data.sum()) < 7
    card = catalog.card("BrainsegFetal")
    assert "esearch" in card["license"] and card["training_data"]
    between = age_template.load("BrainsegFetal").at(27.5).data[1:].sum(0)
    assert float((between - 1).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("age", "unit", "name"), [(28, "gestational weeks", "fetal"), (30, "years", "adult")]
)
def test_populations_by_age(age, unit, name):
    assert populations.by_age(age, unit).name == name


def test_cohorts_of_templates():
    infant, fetus = populations.load("infant"), populations.load("fetal")
    assert [infant.cohorts["MNIInfant"].of(months) for months in (1, 4, 22)] == ["1", "2", "8"]
    assert fetus.cohorts["BrainsegFetal"].of(27.6) == "28"
    assert infant.untrained and infant.name not in populations.trained()


@pytest.mark.parametrize(
    ("person", "image", "found"),
    [
        ({"weeks": 28.0}, "sub-1_T2w.nii.gz", "fetal"),
        ({}, "sub-1_rec-srr_T2w.nii.gz", "fetal"),
        ({"age": 30.0}, "sub-1_rec-srr_T2w.nii.gz", "adult"),
        ({}, "sub-1_rec-norm_T1w.nii.gz", "adult"),
    ],
)
def test_who_is_taken_as_fetal(person, image, found):
    name, _ = population.population_of("auto", participants.Person(**person), Path(image))
    assert name == found


def test_ages_that_no_network_knows_are_refused_unless_insisted():
    early = participants.Person(weeks=17.0)
    with pytest.raises(InputError, match=r"17 gestational weeks.*20\.5 to 38\.5"):
        population.population_of("auto", early, Path("sub-1_T2w.nii.gz"))
    name, note = population.population_of("fetal", early, Path("sub-1_T2w.nii.gz"))
    assert name == "fetal" and "outside" in note


def test_licenses_are_told():
    assert "esearch use" in cards.restricted(populations.load("fetal"))
    assert cards.restricted(populations.load("adult")) is None


def test_thick_stacks_get_a_mask_only(tmp_path):
    record = populations.load("fetal")
    for thickness, coarse in ((0.8, False), (1.9, False), (2.0, True), (4.0, True)):
        path = tmp_path / "scan.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.diag([1, 1, thickness, 1])), path)
        why = thick_slices.too_coarse(str(path), record)
        assert bool(why) == coarse
    assert "1 x 1 x 4 mm" in why and "mask only" in why
    assert thick_slices.too_coarse(str(path), populations.load("adult")) is None


def test_the_age_is_estimated_where_it_is_missing_and_doubted_where_it_contradicts():
    record = populations.load("fetal")
    middle = {k: c.at(30) for k, c in growth.load("fetal").curves.items()}
    found, notes = ages.age_of(middle, record, None)
    assert (
        found["age"] == pytest.approx(30, abs=1.5) and found["error"] > 0 and "The age is unknown" in notes[0]
    )
    assert ages.age_of(middle, record, 30.0) == ({"age": 30.0, "unit": record.age_unit}, [])
    assert "check the segmentation" in ages.age_of(middle, record, 22.0)[1][0]
    assert ages.age_of(middle, populations.load("adult"), 40.0) == ({"age": 40.0, "unit": "years"}, [])


def test_growth_is_drawn_from_the_derivatives():
    rows = {k: {"volume_mm3": str(c.at(30))} for k, c in growth.load("fetal").curves.items()}
    sidecar = {"Age": {"Value": 30.0, "Units": "gestational weeks", "Estimated": True, "Error": 1.0}}
    facts = facts_of({"population": "fetal", "label_table": "fetal"}, sidecar=sidecar)
    drawn = pages.section([SimpleNamespace(key="sub-<1>", rows=rows, facts=facts)])
    assert drawn.count("<svg") == 7 and "sub-&lt;1&gt;" in drawn and "(estimated)" in drawn
    adult = SimpleNamespace(key="sub-2", rows={}, facts=facts_of({"population": "adult"}))
    assert pages.section([adult]) == ""


@pytest.mark.slow
def test_the_family_of_the_template_is_that_of_the_nearest_shares():
    """Wide ventricles and no outer fluid: before repair; wide ventricles with fluid: after it."""
    for stem, cohort in (
        ("BrainsegFetal", "25"),
        ("BrainsegFetal-sb", "25sb"),
        ("BrainsegFetal-sbop", "25sbop"),
    ):
        shares = age_template.load(stem).shares(25.0)
        volumes = dict(zip(labels.load("fetal").unsided[1:], shares * 1e5, strict=True))
        assert age_template.nearest("BrainsegFetal", "25", 25.0, volumes) == cohort
        age = {"age": 25.0, "unit": "gestational weeks"}
        space = registering.with_cohort("BrainsegFetal", "fetal", age, volumes)
        assert space == f"BrainsegFetal:cohort-{cohort}"
        template = bundled.load(f"BrainsegFetal+{cohort}")
        assert template.centroids[9][0] < 0 and 5e4 < float(template.mask.data.sum()) < 3e5
    # At 36 weeks there is no family but that of typical growth.
    assert age_template.nearest("BrainsegFetal", "36", 36.0, volumes) == "36"
    with pytest.raises(UsageError, match="needs a cohort"):
        bundled.load("BrainsegFetal+24zz")
