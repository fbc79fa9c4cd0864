"""Quality of segmentations: signs of failure, expected Dice, the QC rating, and its calibration."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import euler_number

from brainseg.interfaces.quality import assess
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.population import labels
from brainseg.models.quality import iqm, measures, quality, rating
from brainseg.models.templates import bundled, catalog
from brainseg.training.calibration import qc_norms as calibration
from brainseg.training.synthesis import corruption

PLAUSIBLE = (600.0, 2200.0)


@pytest.fixture(scope="module")
def norms():
    """The norms that the package ships."""
    found = quality.load("adult")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def brain(norms):
    """The likeliest structures of the prior, at 3 mm, with the intensities of a T1w image."""
    ids = [0, *norms.prior]
    share = np.stack([0.5 * np.ones(norms.grid.shape, np.float32), *norms.prior.values()])
    share[0] = 0.5 * (1 - np.clip(share[1:].sum(0), 0, 1)) + 0.02
    structures = np.array(ids, np.int16)[share.argmax(0)]
    tissue = labels.load("adult").lookup("tissue")[structures]
    level = np.array([0, 650, 1000, 250, 250, 780], np.float32)[tissue]
    image = level + np.random.default_rng(0).normal(0, 25, level.shape).astype(np.float32) * (structures > 0)
    scan = Volume(torch.from_numpy(image), norms.grid.affine)
    return (
        scan,
        scan.with_data(torch.from_numpy((structures > 0).astype(np.uint8))),
        scan.with_data(torch.from_numpy(structures)),
    )


def rated(brain, norms, mask=None, structures=None, matrix=None):
    image, own_mask, own = brain
    mask, structures = mask or own_mask, structures or own
    measured = quality.measure(image, mask, structures, norms)
    matrix = np.eye(4) if matrix is None else matrix
    return rating.rate(measured, mask, structures, norms=norms, plausible_ml=PLAUSIBLE, matrix=matrix)


def rolled(volume, voxels):
    return volume.with_data(torch.from_numpy(np.roll(volume.data.numpy(), voxels, (0, 1, 2))))


def flagged(found):
    return {check.name for check in found.checks if check.verdict != "pass"}


def test_a_usual_brain_passes(brain, norms):
    found = rated(brain, norms)
    assert flagged(found) <= {"poor", "score"}  # thin structures vanish from a brain of 3 mm
    assert found.rating != "fail" and 0.4 < found.score < 1
    assert all(check.words and np.isfinite(check.value) for check in found.checks)


@pytest.mark.slow
@pytest.mark.parametrize("voxels", [(7, 0, 0), (-7, 0, 0), (0, 7, 0), (0, -7, 0), (0, 0, 7), (0, 0, -7)])
def test_shifted_mask_is_flagged(brain, norms, voxels):
    found = rated(brain, norms, mask=rolled(brain[1], voxels))
    assert found.rating == "fail" and {"mask_match", "alignment_overlap"} & flagged(found)


def test_words_name_the_template_and_small_shares(brain, norms):
    words = {check.name: check.words for check in rated(brain, norms).checks}
    for name in ("alignment_overlap", "alignment_centers"):
        assert "ligned affinely to MNI152NLin2009aSym" in words[name]
    assert [rating._percent(share) for share in (0.0025, 0.0, 0.096, 0.123)] == [
        "0.25 %",
        "0 %",
        "9.6 %",
        "12 %",
    ]


def test_exchanged_sides_are_flagged(brain, norms):
    swapped = corruption.apply(brain[2], "exchange", 1.0, np.random.default_rng(0))
    found = rated(brain, norms, structures=swapped)
    assert found.rating == "fail" and "sides" in flagged(found)
    assert found.score < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_a_brain_is_flagged(brain, norms, axis):
    keep = torch.ones(norms.grid.shape, dtype=torch.bool)
    middle = [33, 42, 30][axis]
    keep[tuple(slice(middle, None) if a == axis else slice(None) for a in range(3))] = False
    mask, structures = (volume.with_data(volume.data * keep) for volume in brain[1:])
    assert rated(brain, norms, mask=mask, structures=structures).rating == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["shift", "turn", "mirror", "scale"])
def test_wrong_alignment_is_flagged(brain, norms, change):
    matrix = np.eye(4)
    if change == "shift":
        matrix[:3, 3] = 20, 0, 0
    elif change == "turn":
        c, s = np.cos(0.44), np.sin(0.44)
        matrix[1:3, 1:3] = [[c, -s], [s, c]]
    elif change == "mirror":
        matrix[0, 0] = -1
    else:
        matrix[:3, :3] *= 1.25
    assert {"alignment_overlap", "alignment_centers"} & flagged(rated(brain, norms, matrix=matrix))


@pytest.mark.slow
def test_worse_corruption_is_expected_to_be_worse(brain, norms):
    rng = np.random.default_rng(3)
    for kind in ("specks", "patches"):
        means = []
        for level in (0.05, 1.0):
            structures = corruption.apply(brain[2], kind, level, rng)
            known = quality.measure(*brain[:2], structures, norms)
            means.append(np.mean([one.score for one in known if one.index not in quality.LOOSE]))
        assert means[0] > means[-1] + 0.05, kind


def test_missing_structure_scores_nothing(brain, norms):
    gone = brain[2].with_data(torch.where(brain[2].data == 17, 0, brain[2].data))
    found = {one.index: one for one in quality.measure(*brain[:2], gone, norms)}
    assert found[17].score == 0 and found[17].volume == 0
    assert found[53].signs["asymmetry"] > 1


def test_topology():
    part = np.zeros((12, 12, 12), bool)
    part[2:9, 2:9, 2:9] = True
    assert measures.topology(part) == (1, 0.0, 0, 0.0, 1)
    part[5, 5, 5] = False
    pieces, apart, holes, hollow, euler = measures.topology(part)
    assert (pieces, apart, holes, euler) == (1, 0.0, 1, 2) and hollow == pytest.approx(1 / 342)
    part[11, 11, 11] = True
    pieces, apart, *_ = measures.topology(part)
    assert pieces == 2 and apart == pytest.approx(1 / 343)


def test_without_norms_little_is_checked(brain):
    found = rating.rate([], brain[1], brain[2], norms=None, plausible_ml=(3000.0, 4000.0))
    assert [check.name for check in found.checks] == ["brain_volume", "mask_match"]
    assert found.rating == "fail" and found.score is None
    assert quality.load("no-such-table") is None


def test_nothing_found_fails(brain, norms):
    nothing = brain[2].with_data(torch.zeros_like(brain[2].data))
    assert rated(brain, norms, structures=nothing).rating == "fail"


def test_folds_count(brain, norms):
    found = rating.rate([], brain[1], brain[2], norms=None, folds=2.0)
    assert "folds" in flagged(found) and found.rating == "fail"


@pytest.mark.slow
def test_everything_at_once_is_plain(brain):
    image, mask, structures = brain
    dseg = labels.load("adult").lookup("dseg")[structures.data.numpy()]
    maps = {
        n: image.with_data(torch.from_numpy((dseg == k).astype("f4")))
        for k, n in enumerate(("GM", "WM", "CSF"), 1)
    }
    scan = image.with_data(image.data * torch.linspace(0.9, 1.1, image.data.shape[0])[:, None, None])
    found = assess(
        image, mask, structures, maps, scan=scan, matrix=np.eye(4), stripped=True, plausible_ml=PLAUSIBLE
    )
    again = json.loads(json.dumps(found))
    assert again["verdict"] in rating.GRAVITY and set(again["metrics"]) == set(iqm.DEFINITIONS)
    assert len(again["structures"]) == 32
    assert 0.05 < again["metrics"]["inu_range"] < 0.2
    assert again["metrics"]["tpm_overlap_wm"] > 0.4


@pytest.mark.parametrize("kind", corruption.KINDS)
def test_corruption_is_graded(brain, kind):
    structures = brain[2]
    same = []
    for level in (0.1, 1.0):
        rng = np.random.default_rng(5)
        found = corruption.apply(structures, kind, level, rng)
        assert found.data.shape == structures.data.shape and found.data.dtype == structures.data.dtype
        assert set(np.unique(found.data.numpy())) <= set(np.unique(structures.data.numpy()))
        same.append(float((found.data == structures.data).float().mean()))
    assert same[0] >= same[1] and same[1] < 1


def test_weights_are_found_again():
    """Dice that fall with two signs: the fit finds which, and that the third says nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(2000):
        signs = {"edge": rng.exponential(0.5), "pieces": rng.exponential(0.3), "holes": rng.exponential(0.3)}
        logit = 2.5 - 1.5 * signs["edge"] - 3 * signs["pieces"] + rng.normal(0, 0.2)
        rows.append(calibration.Row("x", "none", 0.0, 17, 1 / (1 + np.exp(-logit)), signs, 100.0))
    weights, intercepts = calibration.fit(rows)
    assert weights["edge"] == pytest.approx(1.5, abs=0.15) and weights["pieces"] == pytest.approx(3, abs=0.3)
    assert weights["holes"] < 0.1 and intercepts[17] == intercepts[53] == pytest.approx(2.5, abs=0.15)
    assert min(weights.values()) >= 0


def test_norms_come_back_from_their_files(norms, tmp_path, monkeypatch):
    path = calibration.write(tmp_path, norms, "a test", {"poor": 0.3})
    record = json.loads(path.read_text())
    assert record["source"] == "a test" and record["thresholds"] == {"poor": 0.3}
    with np.load(tmp_path / "adult.npz") as arrays:
        assert sorted(map(int, arrays.files)) == sorted(norms.prior)
        assert np.allclose(arrays["17"] / 255, norms.prior[17], atol=1 / 255)


def test_usual_joins_both_sides():
    def one(index, share):
        return quality.Structure(index, 1.0, 1, 0, 1, {"share": share}, {})

    found = calibration.usual([[one(17, -5.0), one(53, -5.2)], [one(17, -5.1), one(53, -5.1)]])
    assert found[17] == found[53] and found[17]["share"][0] == pytest.approx(-5.1)
    assert found[17]["share"][1] == calibration.FLOORS["share"]


def test_the_euler_number_is_that_of_scikit_image():
    rng = np.random.default_rng(1)
    for smooth in (0.6, 1.0, 2.0):
        part = ndimage.gaussian_filter(rng.normal(size=(24, 20, 22)), smooth) > 0.01
        assert measures.euler(part) == euler_number(part, connectivity=3)


def test_quality_is_measured_in_the_template_of_the_norms():
    """A registration to the default template is continued to the symmetric one; other templates stay."""
    norms = quality.load("adult")
    matrix, template = quality.to_norms(np.eye(4), catalog.DEFAULT, norms)
    assert template == norms.template == catalog.SYMMETRIC
    there, own = bundled.load(catalog.SYMMETRIC).centroids, bundled.load(catalog.DEFAULT).centroids
    away = [np.linalg.norm((matrix @ [*own[k], 1])[:3] - there[k]) for k in own if k not in quality.LOOSE]
    assert np.median(away) < 4
    kept, template = quality.to_norms(np.eye(4), "BrainsegFetal+28", norms)
    assert (template, kept[0, 0]) == ("BrainsegFetal+28", 1)
    assert quality.to_norms(None, catalog.DEFAULT, norms) == (None, catalog.DEFAULT)


@pytest.mark.parametrize(
    "volume, outside, verdicts",
    [
        (1500.0, 0.0, ["pass", "pass"]),
        (900.0, 0.0, ["check", "pass"]),
        (2300.0, 0.01, ["check", "pass"]),
        (1500.0, 0.2, ["pass", "check"]),
        (100.0, 1.0, ["check", "check"]),
    ],
)
def test_cranial_cavity_is_checked_and_never_fails_a_result(brain, volume, outside, verdicts):
    cavity = rating.Cavity(volume, outside, (1100.0, 2000.0))
    found = rating.rate([], brain[1], brain[2], norms=None, cavity=cavity)
    checks = {one.name: one for one in found.checks}
    assert [checks[name].verdict for name in ("intracranial_volume", "beyond")] == verdicts
    assert checks["intracranial_volume"].value == volume and "mL" in checks["intracranial_volume"].words


def test_shares_are_those_of_each_label_counted_alone():
    draw = np.random.default_rng(0)
    found = ndimage.zoom(draw.integers(0, 60, (5, 6, 4)), 4, order=0).astype(np.int16)
    structures = Volume(torch.from_numpy(found), np.diag([1.5, 1.5, 1.5, 1.0]))
    grid = Grid((10, 12, 8), np.diag([3.0, 3.0, 3.0, 1.0]))
    grid.affine[:3, 3] = 0.75
    shares = measures.shares(structures, np.eye(4), grid)
    assert set(shares) == set(np.unique(found)) - {0}
    blocks = found.reshape(10, 2, 12, 2, 8, 2)
    for label, share in shares.items():
        assert (share == (blocks == label).mean((1, 3, 5)).astype(np.float32)).all()
