"""Borders with partial volume: where a tissue has half of a voxel, at any noise and prior."""

import pytest
import torch

from brainseg.models.population import labels
from brainseg.models.segmentation.intensity import gaussian_mixture, partial_volume

STRUCTURES = (0, 2, 3, 24)
WM, GM = 1, 2
LEVELS = {"T1w": (160.0, 100.0, 30.0), "T2w": (90.0, 130.0, 240.0)}


def cortex(levels, noise=4.0, count=6000, shift=0.0):
    """Return voxels across a border of white and gray matter, their share of white matter, and a prior.

    Two thirds are pure; the prior's border lies ``shift`` (in voxels) too deep in the white matter.
    """
    torch.manual_seed(0)
    depth = torch.rand(count) * 3 - 1.5
    share = (depth + 0.5).clamp(0, 1)
    white, gray, fluid = levels
    y = torch.cat([gray + (white - gray) * share, torch.full((count // 4,), fluid)])
    y += noise * torch.randn(len(y))
    prior = torch.full((4, len(y)), 1e-3)
    chance = ((depth - shift) * 3).sigmoid()
    prior[WM, :count], prior[GM, :count], prior[3, count:] = chance, 1 - chance, 1.0
    return y, share, prior / prior.sum(0)


@pytest.mark.parametrize("contrast", LEVELS)
@pytest.mark.parametrize("noise", [2.0, 5.0])
def test_volume_of_white_matter_is_right_though_the_prior_lies_too_deep(contrast, noise):
    y, share, prior = cortex(LEVELS[contrast], noise, shift=0.4)
    found = gaussian_mixture.fit_with_partial_volume(y, prior, STRUCTURES, fluid=1.0)
    part = found.posteriors[WM, : len(share)]
    true, said = float(share.sum()), float(prior[WM, : len(share)].sum())
    assert float(part.sum()) == pytest.approx(true, rel=0.08)
    assert abs(float(part.sum()) - true) < 0.7 * abs(said - true)


def test_posterior_of_a_shared_voxel_follows_its_share():
    y, share, prior = cortex(LEVELS["T1w"], 2.0)
    part = gaussian_mixture.fit_with_partial_volume(y, prior, STRUCTURES, fluid=1.0).posteriors[WM]
    part = part[: len(share)]
    assert float(part[share < 0.15].mean()) < 0.05 and float(part[share > 0.85].mean()) > 0.95
    label = part > 0.5
    clear = (share - 0.5).abs() > 0.15
    assert float((label == (share > 0.5))[clear].float().mean()) > 0.95


def test_without_contrast_the_prior_keeps_its_border():
    y, _, prior = cortex((100.0, 100.5, 240.0))
    found = gaussian_mixture.fit_with_partial_volume(y, prior, STRUCTURES, fluid=1.0)
    assert found.weight == 0
    tissue = y < 170
    assert torch.equal(found.posteriors.argmax(0)[tissue], prior.argmax(0)[tissue])


def test_softened_prior_keeps_sums_and_order():
    torch.manual_seed(0)
    prior = torch.rand(4, 100).softmax(0)
    soft = partial_volume.softened(prior.clone(), STRUCTURES, 0.2)
    torch.testing.assert_close(soft.sum(0), prior.sum(0))
    torch.testing.assert_close(soft[[0, 3]], prior[[0, 3]])
    assert torch.equal(soft[WM] > soft[GM], prior[WM] > prior[GM])
    torch.testing.assert_close(partial_volume.softened(prior.clone(), STRUCTURES, 1.0), prior)


def test_prior_of_the_cerebellum_is_softened_less():
    prior = torch.tensor([[0.0], [0.9], [0.1]])
    cerebrum = partial_volume.softened(prior.clone(), (0, 2, 3), 0.2)
    cerebellum = partial_volume.softened(prior.clone(), (0, 7, 8), 0.2)
    assert 0.5 < float(cerebrum[1, 0]) < float(cerebellum[1, 0]) < 0.9


def test_every_structure_of_the_adult_table_has_a_class():
    classes = partial_volume.Classes(labels.load("adult").unsided)
    assert len(classes.group) == len(labels.load("adult").unsided) and len(classes.borders) == 3


def test_fissures_of_the_cerebellum_are_cortex():
    """Voxels between cortex and fluid stay cortex where the prior says so: protocols include the fissures."""
    structures = (0, 7, 8, 24, 2, 3)
    torch.manual_seed(0)
    share = torch.rand(4000)
    y = torch.cat([30 + 70 * share, torch.full((2000,), 30.0), torch.full((4000,), 100.0)])
    y = torch.cat([y, torch.full((4000,), 160.0)]) + 3 * torch.randn(14000)
    prior = torch.full((6, len(y)), 1e-3)
    prior[2, :4000], prior[3, 4000:6000], prior[5, 6000:10000], prior[4, 10000:] = 0.8, 1.0, 1.0, 1.0
    prior[3, :4000] = 0.2
    found = gaussian_mixture.fit_with_partial_volume(y, prior / prior.sum(0), structures, fluid=1.0)
    assert float((found.posteriors[2, :4000] > 0.5).float().mean()) > 0.85
