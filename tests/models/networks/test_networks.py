"""Networks and their weights: shapes, what a prior does at the start, cards, and refusal of damaged files."""

import json

import pytest
import torch

from brainseg.models.networks import zoo
from brainseg.models.networks.stem_unet import InstanceNorm, StemUNet

ARGUMENTS = {
    "inputs": 4,
    "channels": [8, 12, 16],
    "prior": 5,
    "tasks": {"structure": {"outputs": 5}, "mask": {"outputs": 2, "refine": 0, "width": 0.5}},
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StemUNet(**ARGUMENTS)


def _input(shape=(16, 24, 32)):
    x = torch.rand(1, 4, *shape)
    prior = torch.rand(1, 5, *(n // 2 for n in shape)).softmax(1)
    return x, prior


def test_shapes(network):
    x, prior = _input()
    assert network.stride == 8
    out = network(x, prior)
    assert set(out) == {"structure", "mask"}
    for name, count in (("structure", 5), ("mask", 2)):
        full, low = out[name]
        assert full.shape == (1, count, 16, 24, 32)
        assert low.shape == (1, count, 8, 12, 16)


def test_a_stem_of_stride_1_keeps_the_full_resolution():
    full = StemUNet(4, [8, 12, 16], {"mask": {"outputs": 1}}, stem=1)
    assert full.stride == 4
    values, same = full(torch.rand(1, 4, 16, 20, 12))["mask"]
    assert values is same and values.shape == (1, 1, 16, 20, 12)
    values.square().mean().backward()
    assert not [name for name, p in full.named_parameters() if p.grad is None]


@pytest.mark.parametrize("more", [{"stem": 3}, {"stem": 1}, {"stem": 1, "prior": 0}])
def test_a_stem_without_a_prior_has_no_refiner_either(more):
    with pytest.raises(ValueError, match="stride 2, or 1 without"):
        StemUNet(**(ARGUMENTS | {"tasks": {"structure": {"outputs": 5, "refine": 8}}} | more))


def test_gradients_reach_every_weight(network):
    x, prior = _input()
    sum(full.square().mean() + low.square().mean() for full, low in network(x, prior).values()).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_prior_starts_as_nothing_but_a_skip_to_its_own_task(network):
    """At the start the prior moves its task's logits by its logarithm, and nothing else in the network."""
    network.eval()
    x, prior = _input()
    other = torch.rand_like(prior).softmax(1)
    a, b = network(x, prior), network(x, other)
    torch.testing.assert_close(a["mask"][0], b["mask"][0])
    step = network.trust * (other.clamp(min=1e-3).log() - prior.clamp(min=1e-3).log())
    torch.testing.assert_close(b["structure"][1] - a["structure"][1], step, rtol=1e-4, atol=1e-4)


def test_weights_without_a_prior_fit_a_network_with_one(network):
    plain = StemUNet(**(ARGUMENTS | {"prior": 0}))
    missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert set(missing) == {"condition.weight", "condition.bias", "trust"}
    x, prior = _input()
    torch.testing.assert_close(network(x, prior)["mask"][0], plain(x)["mask"][0])
    flat = torch.full_like(prior, 0.2)
    a, b = network(x, flat)["structure"][1], plain(x)["structure"][1]
    torch.testing.assert_close(a.softmax(1), b.softmax(1))


@pytest.mark.slow
@torch.no_grad()
def test_bfloat16_agrees(network):
    network.eval()
    x, prior = _input()
    exact = network(x, prior)["structure"][0].softmax(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = network(x.to(memory_format=torch.channels_last_3d), prior)["structure"][0].float().softmax(1)
    assert float((exact - fast).abs().mean()) < 0.02


def _saved(folder, network):
    card = {
        "name": "toy",
        "architecture": {"class": "StemUNet", "arguments": ARGUMENTS},
        "label_table": "adult",
    }
    return zoo.save(folder, network.state_dict(), card)


def test_round_trip(tmp_path, network):
    path = _saved(tmp_path, network)
    model = zoo.load(str(path))
    assert model.card["name"] == "toy" and len(model.card["sha256"]) == 64
    assert not model.network.training
    assert not any(p.requires_grad for p in model.network.parameters())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value, rtol=2e-3, atol=1e-4)
    assert zoo.load_once(str(path)) is zoo.load_once(str(path))


def test_damaged_weights_are_refused_by_name(tmp_path, network):
    path = _saved(tmp_path, network)
    content = bytearray(path.read_bytes())
    content[-10] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(zoo.ModelError, match=r"toy\.safetensors.*SHA-256"):
        zoo.load(str(path))


def test_missing_weights_and_cards(tmp_path, network):
    with pytest.raises(zoo.ModelError, match="no weights"):
        zoo.load("unheard-of")
    path = _saved(tmp_path, network)
    with pytest.raises(zoo.ModelError, match="toy"):
        zoo.load(str(path.with_name("other.safetensors")))
    card = path.with_suffix(".json")
    text = card.read_text()
    card.write_text(text[:40])
    with pytest.raises(zoo.ModelError, match="JSON"):
        zoo.load(str(path))
    card.unlink()
    with pytest.raises(zoo.ModelError, match="card"):
        zoo.load(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "Unheard"}, "architecture"),
        ({"arguments": ARGUMENTS | {"channels": [8, 8]}}, "does not fit"),
    ],
)
def test_card_that_does_not_fit_its_weights(tmp_path, network, change, message):
    path = _saved(tmp_path, network)
    card = path.with_suffix(".json")
    content = json.loads(card.read_text())
    content["architecture"] |= change
    card.write_text(json.dumps(content))
    with pytest.raises(zoo.ModelError, match=message):
        zoo.load(str(path))


def test_only_the_tasks_that_are_asked_for_are_computed(network):
    network.eval()
    x, prior = _input()
    every, one = network(x, prior), network(x, prior, tasks=("structure",))
    assert set(one) == {"structure"}
    assert torch.equal(every["structure"][0], one["structure"][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_example_is_normalized_as_several_are(dtype):
    """One example keeps its memory format, which is faster; the result and the gradients are the same."""
    torch.manual_seed(0)
    norm = InstanceNorm(6)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    found = []
    for count in (1, 2):
        x = torch.randn(1, 6, 4, 5, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        out = norm(x.expand(count, -1, -1, -1, -1))[:1]
        out.float().square().mul(torch.arange(6.0)).sum().backward()
        found.append((out.detach(), x.grad))
    tolerance = {} if dtype is torch.float32 else {"rtol": 5e-2, "atol": 5e-2}
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(one, several, **tolerance)
