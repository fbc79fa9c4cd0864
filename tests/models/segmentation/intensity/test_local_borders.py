"""Fluid between deep structures: its volume is right, though its border is not one with cortex."""

import pytest
import torch

from brainseg.models.segmentation.intensity import gaussian_mixture

STRUCTURES = (0, 2, 3, 10, 14)
WM, GM, THALAMUS, FLUID = 1, 2, 3, 4
SHAPE, MIDDLE = (60, 24, 24), 10.3


def slit(width, levels, noise=3.0):
    """Return intensities and a prior of a slit of fluid in the thalamus, beside cortex and white matter.

    The slit is ``width`` voxels wide; the prior knows its place, blurred.
    """
    torch.manual_seed(0)
    x = torch.arange(SHAPE[0]).float()
    share = (width / 2 + 0.5 - (x - MIDDLE).abs()).clamp(0, min(1.0, width))
    white, gray, thalamus, fluid = levels
    line = share * fluid + (1 - share) * thalamus
    line[20:40], line[40:55], line[55:] = white, gray, fluid
    y = line.view(-1, 1, 1) + noise * torch.randn(SHAPE)
    prior = torch.full((len(STRUCTURES), SHAPE[0]), 1e-3)
    chance = ((width / 2 - (x[:20] - MIDDLE).abs()) * 2).sigmoid()
    prior[FLUID, :20], prior[THALAMUS, :20] = chance, 1 - chance
    prior[WM, 20:40], prior[GM, 40:55], prior[FLUID, 55:] = 1.0, 1.0, 1.0
    prior = (prior / prior.sum(0)).view(-1, SHAPE[0], 1, 1).expand(-1, *SHAPE)
    return y.flatten(), prior.flatten(1)


def volume(width, levels, inside):
    """Return the fluid's width in the thalamus."""
    y, prior = slit(width, levels)
    found = gaussian_mixture.fit_with_partial_volume(y, prior, STRUCTURES, fluid=1.0, inside=inside)
    torch.testing.assert_close(found.posteriors.sum(0), torch.ones(len(y)))
    part = found.posteriors[FLUID].view(SHAPE)[:20]
    return float(part.sum()) / (SHAPE[1] * SHAPE[2])


@pytest.mark.parametrize("levels", [(160.0, 100.0, 145.0, 30.0), (90.0, 130.0, 100.0, 240.0)])
@pytest.mark.parametrize("width", [2.0, 4.0])
def test_a_ventricle_beside_the_thalamus_has_its_volume(levels, width):
    inside = torch.ones(SHAPE, dtype=torch.bool)
    alone, near = volume(width, levels, None), volume(width, levels, inside)
    assert near == pytest.approx(width, rel=0.03)
    assert abs(near - width) < abs(alone - width) + 0.01


def test_far_from_fluid_nothing_changes():
    y, prior = slit(2.0, (160.0, 100.0, 145.0, 30.0))
    fit = gaussian_mixture.fit_with_partial_volume
    alone, near = (
        fit(y, prior.clone(), STRUCTURES, fluid=1.0, inside=inside).posteriors
        for inside in (None, torch.ones(SHAPE, dtype=torch.bool))
    )
    apart = near.view(-1, *SHAPE)[:, 25:] - alone.view(-1, *SHAPE)[:, 25:]
    assert float(apart.abs().max()) < 1e-6
