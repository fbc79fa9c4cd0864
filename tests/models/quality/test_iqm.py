"""Image quality metrics against plain numpy on a phantom whose answers are known."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.quality import formulas, iqm

SHAPE = (64, 72, 60)
LEVELS = {"csf": 300.0, "gm": 650.0, "wm": 1000.0}


@pytest.fixture(scope="module")
def phantom():
    """A head of shells with noise, its tissues, and the air around it; white matter has a median of 1000."""
    x, y, z = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    radius = np.sqrt((x / 20) ** 2 + (y / 24) ** 2 + (z / 20) ** 2)
    tissue = {
        "wm": radius < 0.7,
        "gm": (radius >= 0.7) & (radius < 0.9),
        "csf": (radius >= 0.9) & (radius < 1),
    }
    rng = np.random.default_rng(4)
    # Noise of a magnitude image in air: Rayleigh.
    image = rng.rayleigh(12.0, SHAPE)
    scalp = (radius >= 1) & (radius < 1.25)
    image[scalp] = 800 + rng.normal(0, 40, int(scalp.sum()))
    for name, inside in tissue.items():
        image[inside] = LEVELS[name] + rng.normal(0, 20 + 20 * (name == "gm"), int(inside.sum()))
    image *= 1000 / np.median(image[tissue["wm"]])
    return image.astype(np.float32), tissue, radius < 1.25


def volumes(image, tissue):
    """The phantom as the chain has it: 2 mm, brain in the middle."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -(np.array(SHAPE) - 1)
    scan = Volume(torch.from_numpy(image), affine)
    mask = scan.with_data(torch.from_numpy(np.any(list(tissue.values()), 0).astype(np.uint8)))
    maps = {k.upper(): scan.with_data(torch.from_numpy(v.astype(np.float32))) for k, v in tissue.items()}
    return scan, mask, maps


@pytest.fixture(scope="module")
def measured(phantom):
    """All metrics of the phantom; its middle is the template's."""
    image, tissue, _ = phantom
    return iqm.measure(*volumes(image, tissue), matrix=np.eye(4))


def mad(values):
    return np.median(np.abs(values - np.median(values))) / 0.6745


def test_every_metric_has_a_definition(measured):
    assert set(measured) == set(iqm.DEFINITIONS)
    for entry in iqm.DEFINITIONS.values():
        assert entry["definition"] and entry["source"] and entry["better"] in ("higher", "lower", "neither")
        assert "{" not in "".join(entry.values())


def test_cjv(phantom, measured):
    image, tissue, _ = phantom
    wm, gm = (np.rint(image[tissue[name]]) for name in ("wm", "gm"))
    expected = (mad(image[tissue["wm"]]) + mad(image[tissue["gm"]])) / abs(np.median(wm) - np.median(gm))
    assert measured["cjv"] == pytest.approx(expected, rel=0.01)
    assert measured["cjv"] == pytest.approx(60 / 350, rel=0.05)  # by construction


def test_snr(phantom, measured):
    image, tissue, _ = phantom
    for name in ("csf", "gm", "wm"):
        values = np.rint(image[tissue[name]])
        expected = np.median(values) / (values.std() * np.sqrt(values.size / (values.size - 1)))
        assert measured[f"snr_{name}"] == pytest.approx(expected, rel=1e-3)
    assert measured["snr_wm"] == pytest.approx(50, rel=0.05)
    each = [measured[f"snr_{name}"] for name in ("csf", "gm", "wm")]
    assert measured["snr_total"] == pytest.approx(np.mean(each))


def test_noise_of_the_air(phantom, measured):
    image, tissue, head = phantom
    air = np.rint(image[~head])
    # The air's deviation and MAD are those of a Rayleigh distribution, wherever above the nasion one looks.
    assert measured["summary_bg_stdv"] == pytest.approx(air.std(), rel=0.03)
    assert measured["summary_bg_stdv"] == pytest.approx(12 * np.sqrt(2 - np.pi / 2), rel=0.05)
    assert measured["snrd_wm"] == pytest.approx(1000 * np.sqrt((4 - np.pi) / 2) / mad(image[~head]), rel=0.05)
    wm, gm = (np.rint(image[tissue[name]]) for name in ("wm", "gm"))
    expected = abs(np.median(wm) - np.median(gm)) / np.sqrt(air.std() ** 2 + wm.var() + gm.var())
    assert measured["cnr"] == pytest.approx(expected, rel=0.01)


def test_fber_and_efc(phantom, measured):
    image, _, head = phantom
    expected = np.median(image[head].astype(float) ** 2) / np.median(image[~head].astype(float) ** 2)
    assert measured["fber"] == pytest.approx(expected, rel=0.05)
    values = image.ravel().astype(float)
    top = np.sqrt((values**2).sum())
    entropy = -(values / top * np.log(values / top)).sum()
    assert measured["efc"] == pytest.approx(
        entropy / (np.sqrt(values.size) * np.log(np.sqrt(values.size))), rel=1e-6
    )


def test_artifacts_in_the_air_are_found(phantom, measured):
    image, tissue, _ = phantom
    assert measured["qi_1"] < 1e-3 and measured["qi_2"] < 0.02
    ghost = image.copy()
    ghost[2:7, 2:20, 44:58] = 400
    worse = iqm.measure(*volumes(ghost, tissue), matrix=np.eye(4))
    assert worse["qi_1"] > 0.005
    assert worse["fber"] < measured["fber"] * 1.2


def test_smoothness(phantom):
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter

    for sigma in (1.0, 2.0):
        smooth = gaussian_filter(rng.standard_normal((60, 60, 60)), sigma)
        assert formulas.fwhm(smooth, np.ones(smooth.shape, bool)) == pytest.approx(
            [2.3548 * sigma] * 3, rel=0.06
        )


def test_shares_and_partial_volume(phantom, measured):
    _, tissue, _ = phantom
    total = sum(int(inside.sum()) for inside in tissue.values())
    for name, inside in tissue.items():
        assert measured[f"icvs_{name}"] == pytest.approx(inside.sum() / total)
    # Of tissues without partial volume every voxel outside counts once, as in MRIQC's code.
    wm = tissue["wm"]
    assert measured["rpve_wm"] == pytest.approx(wm.size / wm.sum(), rel=1e-6)


def test_bias_field(phantom):
    image, tissue, _ = phantom
    scan, mask, maps = volumes(image, tissue)
    ramp = np.broadcast_to(np.linspace(0.8, 1.2, SHAPE[0])[:, None, None], SHAPE)
    field = scan.with_data(torch.from_numpy(ramp.copy()))
    found = iqm.measure(scan, mask, maps, field=field)
    low, high = np.percentile(ramp[mask.data.numpy() > 0], (5, 95))
    assert found["inu_range"] == pytest.approx(high - low) and found["inu_med"] == pytest.approx(1, abs=0.01)


def test_overlap_with_the_template(phantom):
    image, tissue, _ = phantom
    scan, mask, maps = volumes(image, tissue)
    expected = {name: maps[name.upper()].data for name in iqm.TISSUES}
    same = iqm.measure(scan, mask, maps, matrix=np.eye(4), tissue_maps=(scan.grid, expected))
    assert same["tpm_overlap_wm"] == pytest.approx(1, abs=1e-4)
    moved = np.eye(4)
    moved[0, 3] = 10
    away = iqm.measure(scan, mask, maps, matrix=moved, tissue_maps=(scan.grid, expected))
    assert away["tpm_overlap_gm"] < 0.6


def test_every_other_voxel_tells_the_overlap(phantom, monkeypatch):
    image, tissue, _ = phantom
    scan, mask, maps = volumes(image, tissue)
    expected = {name: maps[name.upper()].data for name in iqm.TISSUES}
    matrix = np.eye(4)
    matrix[:3, 3] = 1.7, -2.3, 0.6
    found = []
    for every in (1, 2):
        monkeypatch.setattr(iqm, "EVERY", every)
        measured = iqm.measure(scan, mask, maps, matrix=matrix, tissue_maps=(scan.grid, expected))
        found.append([measured[f"tpm_overlap_{name}"] for name in iqm.TISSUES])
    assert found[1] == pytest.approx(found[0], abs=0.01) and min(found[0]) < 0.9


def test_without_skull_there_is_no_air(phantom):
    image, tissue, _ = phantom
    brain = np.any(list(tissue.values()), 0)
    found = iqm.measure(*volumes(np.where(brain, image, 0), tissue), matrix=np.eye(4), stripped=True)
    for name in ("fber", "qi_1", "qi_2", "snrd_wm", "summary_bg_mean"):
        assert found[name] is None
    assert found["cjv"] == pytest.approx(60 / 350, rel=0.05) and 0 < found["efc"] <= 1


def test_definitions_are_sentences():
    assert not any(one["definition"][0].islower() for one in iqm.DEFINITIONS.values())
    assert iqm.DEFINITIONS["summary_gm_n"]["definition"].startswith("Number of voxels in gray matter")
    assert iqm.DEFINITIONS["summary_gm_mean"]["definition"].startswith("Mean of the intensities")
    names = [name for name in iqm.DEFINITIONS if name.startswith("summary_csf_")]
    assert names[-2:] == ["summary_csf_mad", "summary_csf_n"]


def test_nothing_there_is_no_reason_to_fail(phantom):
    image, tissue, _ = phantom
    nothing = {name: np.zeros(SHAPE, bool) for name in tissue}
    found = iqm.measure(*volumes(image, tissue | nothing))
    assert found["cjv"] is None and found["snr_wm"] is None


def test_faster_means_give_what_scipy_gives():
    from scipy import ndimage, stats

    from brainseg.models.quality import background

    r = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(r.normal(size=(30, 31, 32)), 1.5) > 0
    for times in (1, 2):
        np.testing.assert_array_equal(
            background.opened(mask, times), ndimage.binary_opening(mask, iterations=times)
        )
    sample = r.rayleigh(10, 3000)
    there = np.linspace(0, 60, 200)
    fitted = background.chi_squared(there, *background.fit_chi_squared(sample))
    np.testing.assert_allclose(fitted, stats.chi2.pdf(there, *stats.chi2.fit(sample, 32)), atol=1e-4)
    values = r.normal(size=500)
    assert formulas.kurtosis(values) == pytest.approx(stats.kurtosis(values))
