"""Networks for ``torch.hub``: ``torch.hub.load(FOLDER_OR_REPOSITORY, "network", "segmentation")``."""

import importlib as _importlib
import sys as _sys
import types as _types
from pathlib import Path as _Path

import torch as _torch

dependencies = ["torch", "numpy", "scipy", "safetensors"]


def network(name="segmentation", device="cpu"):
    """Return a network in evaluation mode; its ``card`` has architecture, label table, data and license.

    Parameters
    ----------
    name : str
        A shipped network, one in your folders, or a ``.safetensors`` file with its card beside it.
    device : str
        Device of the weights.
    """
    loaded = _zoo().load(str(name))
    loaded.network.card = loaded.card
    return loaded.network.to(device)


def unet_segmentation(pretrained=True, weights_path=None, inputs=3, channels=(32, 64, 128, 256, 512)):
    """Return a 2D U-Net for lesions: slices (B, inputs, H, W) to probabilities (B, 1, H, W) in [0, 1].

    The shipped network sees a FLAIR slice and its neighbors 5 mm below and above, as deviations from the
    brain's median; ``brainseg lesion`` prepares them. H and W are multiples of 16.

    Parameters
    ----------
    pretrained : bool
        Whether to load weights; otherwise they are random, with ``inputs`` and ``channels``.
    weights_path : str, optional
        Weights of the recipe ``lesion-slices`` or ``lesion`` (``.safetensors``); by default the shipped ones.
    inputs : int
        Channels of a slice, for random weights.
    channels : sequence of int
        Channels by level, for random weights.
    """
    if pretrained:
        return _Slices(network(weights_path or "lesion")).eval()
    return _Slices(_module("models.networks.slice_unet").SliceUNet(inputs, tuple(channels))).eval()


class _Slices(_torch.nn.Module):
    """A network of slices along the last axis as one of pictures, with probabilities."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        out = self.body(x[..., None])
        logits = out["lesion" if "lesion" in out else "structure"][0][..., 0]
        if logits.shape[1] == 1:
            return logits.sigmoid()
        return 1 - logits.float().softmax(1)[:, :1]


def _zoo():
    return _module("models.networks.zoo")


def _module(name):
    """Import a module of the package: the installed one, or that of the folder of this file."""
    try:
        return _importlib.import_module(f"brainseg.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("brainseg", "brainseg.models"):
            raise
    package = _types.ModuleType("brainseg")
    package.__path__ = [str(_Path(__file__).resolve().parent)]
    _sys.modules["brainseg"] = package
    return _importlib.import_module(f"brainseg.{name}")
