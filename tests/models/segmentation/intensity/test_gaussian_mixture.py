"""Gaussian classes fitted to a scan: what it may decide, and what it must leave to the network."""

import torch

from brainseg.models.segmentation.intensity import gaussian_mixture

STRUCTURES = (0, 2, 3, 24)
WM, GM, FLUID = 1, 2, 3


def scan(wm: float, gm: float, fluid: float, count: int = 3000):
    """Intensities of three classes, and a prior that takes a third of the fluid for gray matter."""
    torch.manual_seed(0)
    truth = torch.arange(3).repeat_interleave(count)
    y = torch.tensor([wm, gm, fluid])[truth] + torch.randn(3 * count) * torch.tensor([8.0, 8.0, 15.0])[truth]
    prior = torch.full((4, 3 * count), 0.02)
    prior[truth + 1, torch.arange(3 * count)] = 0.94
    mistaken = torch.arange(2 * count, 2 * count + count // 3)
    prior[:, mistaken] = torch.tensor([0.02, 0.02, 0.86, 0.10])[:, None]
    prior[0] = 1e-4
    return y, prior / prior.sum(0), truth + 1, mistaken


def test_fluid_is_told_apart_where_gray_and_white_matter_are_not():
    y, prior, truth, mistaken = scan(100, 101, 230)
    found = gaussian_mixture.fit(y, prior, STRUCTURES)
    assert found.separation < 0.4 and found.weight == 0
    label = found.posteriors.argmax(0)
    assert float((label[mistaken] == FLUID).float().mean()) > 0.95
    # which tissue it is remains what the network said
    tissue = truth != FLUID
    assert torch.equal(label[tissue], prior.argmax(0)[tissue])
    torch.testing.assert_close(found.posteriors.sum(0), torch.ones(len(y)))


def test_what_is_bright_stays_tissue_where_the_network_is_sure():
    y, prior, _, _ = scan(100, 101, 230)
    lesion = torch.arange(50)
    y[lesion] = 215.0
    prior[:, lesion] = torch.tensor([1e-4, 0.999, 5e-4, 4e-4])[:, None]
    label = gaussian_mixture.fit(y, prior, STRUCTURES).posteriors.argmax(0)
    assert bool((label[lesion] == WM).all())


def test_where_nothing_can_be_told_the_prior_is_kept():
    y, prior, _, _ = scan(100, 100.5, 101)
    found = gaussian_mixture.fit(y, prior, STRUCTURES)
    assert found.weight == 0 and torch.equal(found.posteriors, prior)


def test_the_scan_decides_as_it_did_where_all_can_be_told():
    y, prior, truth, _ = scan(160, 100, 40)
    found = gaussian_mixture.fit(y, prior, STRUCTURES)
    assert found.weight == 1
    assert float((found.posteriors.argmax(0) == truth).float().mean()) > 0.97


def test_in_between_both_say_something():
    y, prior, _, mistaken = scan(100, 107, 230)
    found = gaussian_mixture.fit(y, prior, STRUCTURES)
    assert 0 < found.weight < 1
    assert float((found.posteriors.argmax(0)[mistaken] == FLUID).float().mean()) > 0.95


def shared_with_fluid(count: int = 3000):
    """Three tissues and voxels that gray matter and fluid share; the prior takes all of those for fluid."""
    torch.manual_seed(0)
    part = torch.rand(count)
    y = torch.cat([torch.full((count,), level) for level in (160.0, 100.0, 20.0)] + [100 - 80 * part])
    y += torch.randn(4 * count) * 4
    truth = torch.cat([torch.tensor([WM, GM, FLUID]).repeat_interleave(count), torch.where(part > 0.5, 3, 2)])
    prior = torch.full((4, 4 * count), 0.02)
    said = torch.cat([truth[: 3 * count], torch.full((count,), FLUID)])
    prior[said, torch.arange(4 * count)] = 0.94
    prior[0] = 1e-4
    return y, prior / prior.sum(0), truth, slice(3 * count, None)


def test_held_to_white_matters_noise_fluid_ends_where_either_has_half():
    y, prior, truth, shared = shared_with_fluid()
    right = {}
    for fluid in (None, 1.0):
        label = gaussian_mixture.fit(y, prior, STRUCTURES, fluid=fluid).posteriors.argmax(0)
        right[fluid] = float((label == truth)[shared].float().mean())
        assert float((label == truth)[: shared.start].float().mean()) > 0.98
    assert right[1.0] > 0.85 > right[None] + 0.1
