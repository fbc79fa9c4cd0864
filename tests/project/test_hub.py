"""``hubconf.py``: networks through torch.hub, from a folder of the source."""

import subprocess
import sys

import pytest
import torch

from brainseg.models.networks import zoo
from helpers import ROOT

ALONE = """
import sys
import torch

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "brainseg":
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Missing())
network = torch.hub.load(sys.argv[1], "unet_segmentation", source="local", pretrained=False, channels=(4, 8))
print(tuple(network(torch.zeros(1, 3, 32, 32)).shape))
"""


def test_networks_come_with_their_cards():
    found = torch.hub.load(str(ROOT), "network", "lesion", source="local")
    assert found.card["name"] == "lesion" and not found.training
    with pytest.raises(zoo.ModelError, match="no weights"):
        torch.hub.load(str(ROOT), "network", "unheard-of", source="local")


def test_a_network_of_slices_gives_probabilities():
    network = torch.hub.load(str(ROOT), "unet_segmentation", source="local")
    with torch.no_grad():
        found = network(torch.randn(2, 3, 64, 64))
    assert found.shape == (2, 1, 64, 64) and 0 <= float(found.min()) <= float(found.max()) <= 1
    plain = torch.hub.load(str(ROOT), "unet_segmentation", source="local", pretrained=False)
    assert sum(p.numel() for p in plain.parameters()) == pytest.approx(7.8e6, rel=0.02)


@pytest.mark.slow
def test_without_an_installation():
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(1, 1, 32, 32)", done.stderr
