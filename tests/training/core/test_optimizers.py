"""Optimizers and learning rates that a recipe can name."""

import copy

import pytest
import torch
from torch import nn

from brainseg.models.errors import UsageError
from brainseg.training.core import optimizers
from brainseg.training.kinds import registry


def test_an_update_of_muon_keeps_the_directions_and_evens_their_sizes():
    """Singular vectors stay, singular values come near 1, for wide and for tall matrices."""
    torch.manual_seed(0)
    for shape in ((12, 40), (40, 12)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        found = optimizers.orthogonal(matrix)
        inner = u.T @ found @ v.T
        values = inner.diagonal()
        assert float(values.min()) > 0.6 and float(values.max()) < 1.3
        assert float((inner - torch.diag(values)).abs().max()) < 1e-3


def test_iterations_on_the_small_square_are_those_on_the_matrix():
    """Also where singular values differ by a million, or are all zero."""
    a, b, c = optimizers.NEWTON_SCHULZ
    for shape in ((16, 300), (300, 16)):
        sizes = torch.logspace(-6, 0, 16, dtype=torch.double)
        matrix = torch.randn(shape, dtype=torch.double)
        matrix = matrix * (sizes[:, None] if shape[0] < shape[1] else sizes)
        x = matrix if shape[0] < shape[1] else matrix.T
        x = x / x.norm()
        for _ in range(optimizers.ITERATIONS):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        wanted = x if shape[0] < shape[1] else x.T
        assert torch.allclose(optimizers.orthogonal(matrix.float()).double(), wanted, atol=1e-4)
    assert not optimizers.orthogonal(torch.zeros(3, 8)).any()


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_optimizers_learn_and_go_on_from_their_state(name):
    """The loss falls; a copy with the saved state makes the same next step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 1, 1))
    x = torch.rand(1, 2, 6, 6, 6)
    y = x[:, :1] * x[:, 1:]
    optimizer = optimizers.OPTIMIZERS[name](list(network.parameters()), lr=0.02)

    def step(net, opt):
        opt.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        opt.step()
        return float(loss.detach())

    first = step(network, optimizer)
    for _ in range(60):
        last = step(network, optimizer)
    assert last < 0.5 * first
    other = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 1, 1))
    other.load_state_dict(network.state_dict())
    again = optimizers.OPTIMIZERS[name](list(other.parameters()), lr=0.5)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(network, optimizer)
    step(other, again)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_constant_rate_stays_where_a_cosine_falls():
    for schedule, end in (("cosine", 0.005), ("constant", 1.0)):
        assert optimizers.rate(schedule, 2.0, 0, 0.0) == pytest.approx(0.02, rel=0.01)
        assert optimizers.rate(schedule, 2.0, 1000, 1.0) == pytest.approx(2 * end)


@pytest.mark.parametrize("key", ["optimizer", "schedule"])
def test_an_unknown_name_is_refused(key):
    with pytest.raises(UsageError, match=f"{key}: unknown fastest") as found:
        registry.read("segmentation", {key: "fastest"})
    assert "Known:" in str(found.value)


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("lesion", {"edge_weight": 3.0}, "edge_weight is for the loss structure"),
        ("segmentation", {"edge_weight": 0.0}, "must be positive"),
        ("segmentation", {"averaging": 0.0}, "must be positive"),
        ("segmentation", {"generator.ventricles": 9.0}, "would fold"),
    ],
)
def test_options_without_an_effect_or_a_sense_are_refused(recipe, changes, words):
    with pytest.raises(UsageError, match=words):
        registry.read(recipe, changes)
