"""Whole images from windows and slices, and networks of MONAI."""

import doctest

import pytest
import torch
from torch import nn

from brainseg.models.errors import UsageError
from brainseg.models.networks import aggregation, monai_networks, zoo
from brainseg.models.networks.device import on_device


class Local(nn.Module):
    """A network whose logits depend on each voxel alone."""

    stride = 4

    def forward(self, x, prior=None):
        logits = torch.cat([-x[:, :1], x[:, :1]], 1)
        if prior is not None:
            logits = logits + nn.functional.interpolate(prior, scale_factor=2)
        return {"structure": (logits, None)}


def test_examples():
    assert doctest.testmod(aggregation).failed == 0


@pytest.mark.parametrize("shape", [(20, 16, 12), (13, 9, 6), (8, 8, 8)])
def test_parts_give_what_the_whole_gives(shape):
    torch.manual_seed(0)
    x = torch.randn(1, *shape)
    whole = aggregation.probabilities(Local(), x)
    assert whole.shape == (2, *shape)
    torch.testing.assert_close(whole.sum(0), torch.ones(shape))
    patches = aggregation.probabilities(Local(), x, sampler="patches", shape=(8, 8, 8))
    slices = aggregation.probabilities(Local(), x, sampler="slices", axes=[0, 1, 2])
    torch.testing.assert_close(patches, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(slices, whole, atol=1e-5, rtol=0)


def test_a_volume_is_never_larger_than_those_of_the_training():
    seen = []

    class Watched(Local):
        def forward(self, x, prior=None):
            seen.append(tuple(x.shape[2:]))
            return super().forward(x, prior)

    x = torch.randn(1, 12, 8, 8)
    for shape in ((8, 8, 8), (16, 8, 8)):
        found = aggregation.probabilities(Watched(), x, sampler="volumes", shape=shape)
        torch.testing.assert_close(found, aggregation.probabilities(Local(), x), atol=1e-5, rtol=0)
    assert seen == [(8, 8, 8), (8, 8, 8), (12, 8, 8)]


def test_windows_take_their_part_of_the_prior():
    torch.manual_seed(0)
    x, prior = torch.randn(1, 24, 16, 16), torch.randn(2, 12, 8, 8)
    whole = aggregation.probabilities(Local(), x, prior)
    patches = aggregation.probabilities(Local(), x, prior, sampler="patches", shape=(8, 8, 8))
    torch.testing.assert_close(patches, whole, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", monai_networks.NETWORKS)
def test_networks_of_monai(name):
    pytest.importorskip("monai")
    flat = name == "EfficientUNet"
    small = {"shape": (32, 32, 32), "hidden": 48, "heads": 4} if name == "UNETR" else {}
    network = zoo.build({"class": name, "arguments": {"inputs": 2, "outputs": 3} | small}).eval()
    network = on_device(network, "cpu")  # as in training and use
    x = torch.rand(1, 2, 32, 32, 3 if flat else 32)
    with torch.no_grad():
        full, low = network(x)["structure"]
    assert full.shape == (1, 3, *x.shape[2:]) and low is None
    assert 32 % network.stride == 0
    if flat:  # slices are independent of each other
        with torch.no_grad():
            one = network(x[..., :1])["structure"][0]
        torch.testing.assert_close(one, full[..., :1], atol=1e-4, rtol=0)


def test_a_network_of_monai_without_monai_names_the_extra(monkeypatch):
    monkeypatch.setattr(monai_networks, "PACKAGE", "no_such_package.nets")
    with pytest.raises(UsageError, match=r"pip install 'brainseg-bids\[zoo\]'"):
        monai_networks.unet()
