"""LinkNet, and weights in eight bits."""

import pytest
import torch

from brainseg.models.networks import zoo
from brainseg.models.networks.link_net import LinkNet


@torch.no_grad()
def test_output_has_the_input_s_size_and_stays_the_same_in_eight_bits(tmp_path):
    torch.manual_seed(0)
    network = LinkNet([4, 8, 16]).eval()
    x = torch.rand(1, 1, 32, 48, 32)
    out = network(x)["mask"][0]
    assert out.shape == (1, 2, 32, 48, 32) and network.stride == 16
    card = {"name": "toy", "architecture": {"class": "LinkNet", "arguments": {"channels": [4, 8, 16]}}}
    path = zoo.save(tmp_path, zoo.quantized(network.state_dict()), card)
    again = zoo.load(str(path)).network(x)["mask"][0]
    # between channels the scale differs by orders of magnitude; within one the error is half a step
    assert float((again - out).abs().mean()) < 0.02 * float(out.std())


def test_every_value_is_within_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(6, 3, 3, 3, 3) * 10.0 ** torch.arange(-3, 3).view(-1, 1, 1, 1, 1)
    stored = zoo.quantized({"w": weight, "b": torch.ones(6)})
    assert stored["w"].dtype == torch.int8 and stored["b"].dtype == torch.float32
    step = weight.abs().amax((1, 2, 3, 4), keepdim=True) / 127
    assert bool(((stored["w"] * stored["w.scale"] - weight).abs() <= 0.501 * step).all())


@pytest.mark.slow
def test_published_mask_network_is_installed_with_license_and_citation():
    model = zoo.load("deepbet")
    assert (
        model.card["license"].startswith("MIT")
        and "Permission is hereby granted" in model.card["license_text"]
    )
    assert "Fisch" in model.card["citation"] and model.network.stride == 32
