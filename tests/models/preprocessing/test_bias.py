"""Bias correction: a known field is found, in thick slices too, and quickly."""

import time

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.preprocessing import bias


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.9, 0.9, 5.5), (5.5, 0.9, 0.9)])
def test_a_known_field_is_found(spacing):
    shape = tuple(round(180 / s) for s in spacing)
    x, y, z = (
        ((np.arange(n) + 0.5) / n * 2 - 1).reshape([-1 if a == k else 1 for a in range(3)])
        for k, n in enumerate(shape)
    )
    r = np.sqrt(x**2 + y**2 + z**2)
    brain = r < 0.8
    tissue = np.where(r < 0.5, 160.0, 110.0) * brain
    field = np.exp(0.25 * x + 0.2 * y - 0.15 * z)
    noise = np.random.default_rng(0).normal(0, 3, shape)
    image = Volume(torch.from_numpy((tissue * field + noise).astype(np.float32)), np.diag([*spacing, 1.0]))
    mask = image.with_data(torch.from_numpy(brain.astype(np.uint8)))
    begin = time.process_time()
    corrected, found = bias.correct(image, mask)
    assert time.process_time() - begin < 20
    assert corrected.data.shape == found.data.shape == shape and corrected.data.dtype == torch.float32
    ratio = (found.data.numpy() / field)[brain]
    assert ratio.std() / ratio.mean() < 0.05
    outer = brain & (r > 0.55)
    before, after = ((image.data.numpy()[outer]), corrected.data.numpy()[outer])
    assert after.std() / after.mean() < 0.4 * before.std() / before.mean()
