"""Trilinear interpolation plane by plane on the CPU is that in one step."""

import pytest
import torch
import torch.nn.functional as F

from brainseg.models.deformation.velocity import identity
from brainseg.models.geometry import trilinear
from brainseg.models.geometry.trilinear import sample


def at_once(values: torch.Tensor, where: torch.Tensor, padding: str) -> torch.Tensor:
    """PyTorch's own trilinear interpolation."""
    scale = [2.0 / max(n - 1, 1) for n in values.shape[1:]]
    points = torch.stack([where[k] * scale[k] - 1 for k in (2, 1, 0)], -1)[None]
    return F.grid_sample(values[None], points, padding_mode=padding, align_corners=True)[0]


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("shape", [(1, 19, 23, 17), (3, 12, 1, 9), (2, 1, 8, 7), (2, 6, 5, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("reach", [0.4, 5.0])
def test_samples_are_those_of_trilinear_interpolation(shape, padding, reach):
    noise = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=noise)
    where = identity(shape[1:], values)
    where += reach * torch.randn(where.shape, generator=noise)
    torch.testing.assert_close(
        sample(values, where, padding), at_once(values, where, padding), atol=1e-3, rtol=0
    )


def test_scattered_samples_of_few_planes():
    values = torch.arange(40.0).view(1, 40, 1, 1).expand(1, 40, 6, 5) + 100
    where = torch.tensor([[20.25, 22.5], [3.0, 2.5], [1.0, 4.0]]).view(3, 2, 1, 1)
    assert sample(values, where).flatten().tolist() == pytest.approx([120.25, 122.5], abs=1e-4)
    beyond = where + torch.tensor([60.0, 0, 0]).view(3, 1, 1, 1)
    assert sample(values, beyond).flatten().tolist() == pytest.approx([139.0, 139.0], abs=1e-4)
    assert sample(values, beyond, "zeros").flatten().tolist() == [0.0, 0.0]
    assert sample(values, where[:, :0]).shape == (1, 0, 1, 1)
    assert sample(values, where + float("nan")).shape == (1, 2, 1, 1)


def test_large_images_and_gradients_take_the_usual_way(monkeypatch):
    values = torch.randn(2, 9, 8, 7, generator=torch.Generator().manual_seed(1))
    where = identity((9, 8, 7), values) + 0.3
    monkeypatch.setattr(trilinear, "MOST_ROWS", 10)
    torch.testing.assert_close(sample(values, where), at_once(values, where, "border"), atol=0, rtol=0)
    monkeypatch.undo()
    values.requires_grad_()
    sample(values, where).sum().backward()
    assert values.grad is not None and float(values.grad.sum()) == pytest.approx(2 * 9 * 8 * 7, rel=1e-4)


def test_the_number_of_threads_does_not_matter(monkeypatch):
    values = torch.randn(3, 11, 12, 13, generator=torch.Generator().manual_seed(2))
    where = identity((11, 12, 13), values) + 0.3
    monkeypatch.setattr(trilinear, "LEAST_SAMPLES", 100)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(sample(values, where, "zeros"))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_the_number_of_samples_at_once_does_not_matter(monkeypatch, padding):
    noise = torch.Generator().manual_seed(3)
    values = torch.randn(6, 11, 12, 13, generator=noise)
    where = identity((11, 12, 13), values) + 4 * torch.randn(3, 11, 12, 13, generator=noise)
    whole = sample(values, where, padding)
    monkeypatch.setattr(trilinear, "SAMPLES", 100)
    assert torch.equal(sample(values, where, padding), whole)


def test_values_and_positions_in_another_order_of_memory():
    values, where = torch.rand(2, 9, 8, 7), torch.rand(3, 6, 5, 4) * 8
    turned = values.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    mixed = where.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert not turned.is_contiguous() and torch.equal(sample(turned, mixed), sample(values, where))


def test_many_channels_are_those_of_each():
    values, where = torch.rand(11, 9, 8, 7), torch.rand(3, 6, 5, 4) * 9 - 1
    each = torch.cat([sample(channel[None], where) for channel in values])
    assert torch.equal(sample(values, where), each)


def test_a_large_volume_is_sampled_part_by_part(monkeypatch):
    monkeypatch.setattr(trilinear, "MOST_ROWS", 40)
    values = torch.rand(2, 30, 9, 7)
    where = identity((30, 9, 7), values) + torch.rand(3, 30, 9, 7) - 0.5
    assert torch.allclose(sample(values, where), at_once(values, where, "border"), atol=2e-3)
