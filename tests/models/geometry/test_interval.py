"""Intervals of volumes: wider for blurred borders, the same on any grid, and as wide as simulated errors."""

import doctest

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from brainseg.models.geometry import interval
from brainseg.models.geometry.volume import Grid


def ball(spacing, blur: float, radius: float = 12.0) -> tuple[torch.Tensor, Grid]:
    """The probability of a ball whose border is uncertain by ``blur`` mm."""
    spacing = np.broadcast_to(np.asarray(spacing, float), 3)
    shape = tuple(int(n) for n in np.ceil(48 / spacing))
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    away = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    p = special.ndtr((radius - away) / blur)
    return torch.from_numpy(p.astype(np.float32)), Grid(shape, np.diag([*spacing, 1.0]))


def test_examples_in_the_documentation():
    assert doctest.testmod(interval).failed == 0


def test_what_is_certain_has_no_spread():
    p, grid = ball(1.0, 1.0)
    assert interval.deviation((p > 0.5).float(), grid) == 0
    assert interval.deviation(torch.zeros_like(p), grid) == 0


def test_blurred_borders_have_wider_intervals():
    found = [interval.deviation(*ball(1.0, blur)) for blur in (0.3, 1.0, 3.0)]
    assert found == sorted(found) and found[-1] > 3 * found[0]


@pytest.mark.parametrize("spacing", [0.7, 2.0, (1.0, 1.0, 3.0), (1.3, 0.9, 2.0)])
def test_intervals_do_not_depend_on_the_grid(spacing):
    assert interval.deviation(*ball(spacing, 2.0)) == pytest.approx(
        interval.deviation(*ball(1.0, 2.0)), rel=0.1
    )


def test_intervals_are_as_wide_as_simulated_errors():
    """Voxels err together over the correlation length; errors of independent voxels would nearly cancel."""
    p, grid = ball(2.0, 2.0)
    rng = np.random.default_rng(0)
    limit = special.ndtri(np.clip(p.numpy(), 1e-9, 1 - 1e-9))
    volumes, free = [], []
    for _ in range(150):
        noise = rng.standard_normal(p.shape)
        # Averages over a Gaussian window are correlated as a window that is wider by the root of two.
        field = ndimage.gaussian_filter(noise, interval.LENGTH / 2 / np.sqrt(2), mode="wrap")
        volumes.append((field / field.std() < limit).sum() * 8)
        free.append((noise < limit).sum() * 8)
    said = interval.deviation(p, grid)
    # Classes of correlated numbers are a little less correlated than the numbers.
    assert 0.6 < np.std(volumes) / said < 1.1
    assert np.std(free) < 0.25 * said
