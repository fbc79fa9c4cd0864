"""Sums of many voxels, and networks that sum: the same on any number of threads."""

import pytest
import torch

from brainseg.models.geometry import sums
from brainseg.models.networks.stem_unet import InstanceNorm
from brainseg.models.segmentation.intensity import partial_volume


@pytest.fixture
def on(monkeypatch):
    """Call a function on each of some numbers of threads."""
    before = torch.get_num_threads()

    def results(function):
        out = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out.append(function())
            assert torch.get_num_threads() == threads
        return out

    yield results
    torch.set_num_threads(before)


def test_sums_and_products(on):
    values = torch.rand(3_000_001, generator=torch.Generator().manual_seed(1)) * 1000
    assert len(set(on(lambda: sums.total(values)))) == 1
    rows = values[:3_000_000].view(3, -1)
    first, *others = on(lambda: sums.product(rows, rows.T))
    assert all(torch.equal(first, other) for other in others)
    torch.testing.assert_close(first.double(), rows.double() @ rows.double().T, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalization_of_one_example(on, dtype):
    x = torch.randn(1, 8, 48, 56, 40, generator=torch.Generator().manual_seed(2)) * 3 + 1
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d)
    norm = InstanceNorm(8)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 8))
        norm.bias.copy_(torch.linspace(-1, 1, 8))
        first, *others = on(lambda: norm(x))
    assert all(torch.equal(first, other) for other in others)
    assert first.dtype == dtype and first.is_contiguous(memory_format=torch.channels_last_3d)
    exact = x.double()
    exact = (exact - exact.mean((2, 3, 4), keepdim=True)) / exact.std((2, 3, 4), keepdim=True, correction=0)
    scale, shift = (one.detach().double().view(1, 8, 1, 1, 1) for one in (norm.weight, norm.bias))
    assert float((first.double() - (exact * scale + shift)).abs().max()) < (
        0.03 if dtype != torch.float32 else 1e-3
    )


def test_normalization_in_training_has_gradients():
    norm = InstanceNorm(4)
    x = torch.randn(1, 4, 6, 6, 6, requires_grad=True)
    norm(x).square().mean().backward()
    assert x.grad is not None and norm.weight.grad is not None


def test_means_of_classes(on):
    generator = torch.Generator().manual_seed(3)
    weight, intensities = (
        torch.rand(4, 500_000, generator=generator),
        torch.rand(500_000, generator=generator),
    )
    size = weight.sum(1)
    first, *others = on(lambda: partial_volume._means(weight, intensities, size))
    assert all(torch.equal(first, other) for other in others)
