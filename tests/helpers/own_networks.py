"""Tiny networks of a user that tell labels by intensity alone, with their model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from brainseg.models.networks import zoo
from brainseg.models.networks.slice_unet import SliceUNet
from brainseg.models.segmentation.own.tissues import CHANNELS

TISSUES = [
    {"index": 1, "name": "CSF", "tissue": "csf"},
    {"index": 2, "name": "GM", "tissue": "gm"},
    {"index": 3, "name": "WM", "tissue": "wm"},
]
"""A label table of tissues, not in the order of a dseg."""


def by_intensity(
    outputs: int, dark: int, other: int, images: int = 1, gain: float = 1.0
) -> tuple[SliceUNet, dict[str, Any]]:
    """Return a network: ``dark`` wins where its last image, times ``gain``, is below -2, else ``other``."""
    arguments = {"inputs": images, "channels": [2], "task": "structure", "outputs": outputs}
    network = SliceUNet(**arguments)
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    for key in state:
        if key.endswith("running_var") or (".1.weight" in key) or (".4.weight" in key):
            state[key] = torch.ones_like(state[key])
    state["down.0.0.weight"][:, images - 1, 1, 1, 0] = gain * torch.tensor([1.0, -1.0])
    state["down.0.3.weight"][[0, 1], [0, 1], 1, 1, 0] = 1.0
    state["out.weight"][dark, 1, 0, 0, 0] = 4.0
    state["out.bias"] += -8.0
    state["out.bias"][other] = 0.0
    network.load_state_dict(state)
    return network.eval(), arguments


def make(
    folder: Path,
    name: str = "mine",
    labels: list[dict[str, Any]] | None = None,
    dark: int = 3,
    other: int = 2,
    gain: float = 1.0,
    **card: Any,
) -> Path:
    """Write such a network with labels of its own; return the path of its weights."""
    rows = TISSUES if labels is None else labels
    inputs = card.get("inputs", {})
    images = len(inputs.get("contrasts", "1")) + len(CHANNELS if inputs.get("tissues") else "")
    network, arguments = by_intensity(len(rows) + 1, dark, other, images, gain)
    content = {
        "name": name,
        "kind": "supervised",
        "use": "labels",
        "architecture": {"class": "SliceUNet", "arguments": arguments},
        "label_table": name,
        "labels": rows,
        "spacing": 4.0,
        "shape": [16, 16, 1],
        "inputs": {"sampler": "slices", "axes": [2], "margin": 4.0},
        "training_data": "two scans of mine",
        "license": "CC0-1.0",
    }
    folder.mkdir(parents=True, exist_ok=True)
    return zoo.save(folder, network.state_dict(), content | card)
