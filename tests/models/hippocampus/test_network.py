"""The network of the hippocampus that comes with the program."""

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume
from brainseg.models.hippocampus import hippocampus
from brainseg.models.networks import zoo


@pytest.mark.slow
def test_the_network_is_installed_with_its_license_and_takes_a_crop():
    card = zoo.read_card("hippocampus")
    assert card["license"] == "CC BY-SA 4.0" and "Decathlon" in card["training_data"]
    assert zoo.path_of("hippocampus").stat().st_size < 2.5e6
    noise = Volume(torch.rand(34, 50, 36), np.eye(4))
    parts = hippocampus.find(noise)
    total = parts.probabilities.data.sum(0)
    assert parts.probabilities.data.shape == (2, *hippocampus.SHAPE)
    assert float(total.min()) >= 0 and float(total.max()) <= 1 + 1e-5


@pytest.mark.slow
def test_the_network_does_not_care_for_the_side():
    noise = torch.rand(40, 56, 40)
    there = hippocampus.find(Volume(noise, np.eye(4)))
    mirrored = hippocampus.find(Volume(noise.flip(0), np.eye(4)))
    torch.testing.assert_close(
        there.probabilities.data, mirrored.probabilities.data.flip(1), atol=0.02, rtol=0
    )
