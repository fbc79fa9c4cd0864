"""Weights and their model cards, ``<name>.safetensors`` and ``<name>.json``, without pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..data import user
from ..data.model_files import ModelError, installed, path_of, read_card, verified
from ..io import atomic
from .coarse_to_fine import CoarseToFine
from .device import on_device
from .generative.latent_diffusion import LatentDiffusion
from .gradient_net import GradientNet
from .link_net import LinkNet
from .monai_networks import NETWORKS
from .slice_unet import SliceUNet
from .stem_unet import StemUNet
from .strided_unet import StridedUNet
from .velocity_unet import VelocityUNet

__all__ = ["ModelError", "installed", "path_of", "read_card", "verified"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "StemUNet": StemUNet,
    "StridedUNet": StridedUNet,
    "CoarseToFine": CoarseToFine,
    "GradientNet": GradientNet,
    "SliceUNet": SliceUNet,
    "VelocityUNet": VelocityUNet,
    "LinkNet": LinkNet,
    "LatentDiffusion": LatentDiffusion,
    **NETWORKS,
}
"""Architectures by their name on a model card; to these :func:`build` adds ``Ensemble``."""

ENCODER = ("stem.", "down.", "detail.")
"""Beginnings of the names of an encoder's weights, which others can share (``encoder`` on a card)."""

SCALE = ".scale"
"""Ending of the scale of weights in eight bits."""


@dataclass(frozen=True)
class Model:
    """A network with its card.

    Attributes
    ----------
    network : Module
        In evaluation mode, float32.
    card : dict
        Architecture, label table, voxel size, training data, license, scores.
    """

    network: nn.Module
    card: dict[str, Any]

    @property
    def stride(self) -> int:
        """Number that divides every side of the network's input."""
        return cast(int, self.network.stride)


class Ensemble(nn.Module):
    """Several networks in one file, whose probabilities are averaged.

    Parameters
    ----------
    members : sequence of mapping
        Of each its ``class`` and ``arguments``, and optionally ``axes``, the axes across its slices,
        ``shape``, the size of its windows, and ``channels``, how many of the input's channels it sees (the
        first ones; all of them by default).
    """

    def __init__(self, members: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(build(one) for one in members)
        self.axes = [tuple(one.get("axes") or ()) for one in members]
        self.shapes = [tuple(one.get("shape") or ()) for one in members]
        self.channels = [one.get("channels") for one in members]
        self.stride = math.lcm(*(cast(int, one.stride) for one in self.members))

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, None]]:
        """Return the logarithm of the mean probabilities as the logits of ``structure``."""
        found = [
            one(x[:, :count], prior)["structure"][0].float().softmax(1)
            for one, count in zip(self.members, self.channels, strict=True)
        ]
        return {"structure": (torch.stack(found).mean(0).clamp(min=1e-8).log(), None)}


def build(spec: Mapping[str, Any]) -> nn.Module:
    """Return the network of the entry ``architecture`` of a model card.

    Raises
    ------
    ModelError
        If the architecture is unknown.
    UsageError
        If it needs a package that is not installed.
    """
    if spec["class"] == "Ensemble":
        return Ensemble(**spec["arguments"])
    if spec["class"] not in ARCHITECTURES:
        raise ModelError(f"unknown architecture {spec['class']!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[spec["class"]](**spec["arguments"])


def add(path: Path) -> str:
    """Check weights and their card, copy both to the user's own folder and return their name.

    A label table beside them (``TABLE.tsv``, if the card has none in it) is copied, too.

    Raises
    ------
    ModelError
        If weights and card do not match, or bundled weights have that name.
    """
    card = load(str(path)).card
    name = card.get("name", path.stem)
    known = user.find("weights", f"{name}.safetensors")
    if known and user.is_shipped(known):
        raise ModelError(f"{path}: the name {name!r} belongs to bundled weights; choose another name")
    folder = user.folders()[0]
    table = path.with_name(f"{card.get('label_table')}.tsv")
    if table.is_file() and user.find("labels", table.name) is None:
        atomic.write_bytes(folder / table.name, table.read_bytes())
    # The card first: weights without a card are useless.
    for ending in (".json", ".safetensors"):
        atomic.write_bytes(folder / f"{name}{ending}", path.with_suffix(ending).read_bytes())
    return name


def load(name: str) -> Model:
    """Build the network of a model card and load its weights.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the SHA-256 of the weights differs from that on the card.
    """
    path, card = path_of(name), verified(name)
    try:
        network = build(card["architecture"])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    try:
        state = _restored(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"unreadable weights {path}: {error}") from None
    if shared := card.get("encoder"):
        state |= _shared(path, shared)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the architecture on its card: {error}") from None
    return Model(network.eval().requires_grad_(False), card)


def _shared(path: Path, shared: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the encoder that weights share with others."""
    other = load(shared["name"])
    if other.card.get("sha256") != shared["sha256"]:
        raise ModelError(f"{path} needs the encoder of other weights than those named {shared['name']} here")
    return encoder(other.network.state_dict())


def encoder(state: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return the part of a state that is an encoder's; of a list of names those, without values.

    Examples
    --------
    >>> list(encoder(["stem.0.weight", "decoders.mask.low.bias"]))
    ['stem.0.weight']
    """
    found = state if isinstance(state, Mapping) else dict.fromkeys(state)
    return {name: value for name, value in found.items() if name.startswith(ENCODER)}


def without_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a state that is not an encoder's."""
    return {name: value for name, value in state.items() if not name.startswith(ENCODER)}


@lru_cache(maxsize=8)
def load_once(name: str, device: str = "cpu") -> Model:
    """Load a network onto ``device`` as :func:`load` does, and keep it for the life of the process."""
    model = load(name)
    on_device(model.network, device)
    return model


def _restored(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in float32; weights in eight bits have a scale for every output channel."""
    state = {k: v.float() for k, v in stored.items() if not k.endswith(SCALE)}
    for name in stored:
        if name.endswith(SCALE):
            state[name.removesuffix(SCALE)] *= stored[name].float()
    return state


def quantized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of convolutions in eight bits, with a scale for every output channel.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights in float32.

    Returns
    -------
    dict of str to Tensor
        Weights; a tensor of integers has another one, its scale, with the ending :data:`SCALE`.
    """
    out = {}
    for name, value in state.items():
        if value.dim() < 2:
            out[name] = value
            continue
        scale = value.abs().amax(dim=tuple(range(1, value.dim())), keepdim=True).clamp(min=1e-12) / 127
        out[name] = (value / scale).round().to(torch.int8)
        out[name + SCALE] = scale
    return out


def save(folder: Path, state: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """Write weights with their card: in half precision, those in eight bits as they are."""
    path = folder / f"{card['name']}.safetensors"
    save_file({k: _packed(v.detach().cpu()).contiguous() for k, v in state.items()}, path)
    path.chmod(0o644)
    card = card | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return path


def _packed(value: Tensor) -> Tensor:
    """Return weights as stored."""
    return value if value.dtype == torch.int8 else value.half()
