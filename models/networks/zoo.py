"""Weights and their model cards, ``<name>.safetensors`` and ``<name>.json``, without pickle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..data import FOLDER
from ..io import atomic
from .coarse_to_fine import CoarseToFine
from .gradient_net import GradientNet
from .link_net import LinkNet
from .slice_unet import SliceUNet
from .stem_unet import StemUNet
from .strided_unet import StridedUNet
from .velocity_unet import VelocityUNet

ARCHITECTURES = {
    "StemUNet": StemUNet,
    "StridedUNet": StridedUNet,
    "CoarseToFine": CoarseToFine,
    "GradientNet": GradientNet,
    "SliceUNet": SliceUNet,
    "VelocityUNet": VelocityUNet,
    "LinkNet": LinkNet,
}
"""Architectures by their name on a model card."""

SCALE = ".scale"
"""Ending of the scale of weights in eight bits."""


class ModelError(Exception):
    """Missing or damaged weights, or weights that do not match their card."""


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


def own_folder() -> Path:
    """Return the folder of the user's own networks: ``$BRAINSEG_MODELS``, else the user's data folder."""
    chosen = os.environ.get("BRAINSEG_MODELS")
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "brainseg" / "models"


def installed() -> list[str]:
    """Return the names of all weights: the bundled ones, then the user's own."""
    folders = (FOLDER / "weights", own_folder())
    names = [path.stem for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    return list(dict.fromkeys(names))


def path_of(name: str) -> Path:
    """Return the path of weights.

    Parameters
    ----------
    name : str
        Path of a ``.safetensors`` file, or name of bundled weights or of the user's own.

    Raises
    ------
    ModelError
        If there are none; the message lists the available weights.
    """
    if Path(name).suffix == ".safetensors":
        path = Path(name)
        known = sorted(p.stem for p in path.parent.glob("*.safetensors"))
    else:
        path = FOLDER / "weights" / f"{name}.safetensors"
        known = installed()
        if not path.is_file() and (own_folder() / path.name).is_file():
            return own_folder() / path.name
    if not path.is_file():
        raise ModelError(f"no weights at {path}; available: {', '.join(known) or 'none'}")
    return path


def add(path: Path) -> str:
    """Check weights and their card, copy both to the user's own folder and return their name.

    Raises
    ------
    ModelError
        If weights and card do not match, or bundled weights have that name.
    """
    name = load(str(path)).card.get("name", path.stem)
    if (FOLDER / "weights" / f"{name}.safetensors").is_file():
        raise ModelError(f"{path}: the name {name!r} belongs to bundled weights; choose another name")
    folder = own_folder()
    # The card first: weights without a card are useless.
    for ending in (".json", ".safetensors"):
        atomic.write_bytes(folder / f"{name}{ending}", path.with_suffix(ending).read_bytes())
    return name


def read_card(name: str) -> dict[str, Any]:
    """Read the card of the weights ``name``."""
    path = path_of(name).with_suffix(".json")
    try:
        card = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(
            f"missing model card of the weights {path.stem}: {path}; copy it to the folder of the weights"
        ) from None
    except ValueError as error:
        raise ModelError(f"invalid JSON in the model card {path} ({error}); fetch it again") from None
    if "licence" in card:  # cards of networks trained with earlier versions
        card.setdefault("license", card.pop("licence"))
    return card


def load(name: str) -> Model:
    """Build the network of a model card and load its weights.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the SHA-256 of the weights differs from that on the card.
    """
    path, card = path_of(name), read_card(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if card.get("sha256") != digest:
        raise ModelError(f"{path} does not match its model card (SHA-256 differs); fetch it again")
    spec = card["architecture"]
    if spec["class"] not in ARCHITECTURES:
        raise ModelError(f"{path}: unknown architecture {spec['class']!r}; known: {', '.join(ARCHITECTURES)}")
    network = ARCHITECTURES[spec["class"]](**spec["arguments"])
    try:
        state = _restored(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"unreadable weights {path}: {error}") from None
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the architecture on its card: {error}") from None
    return Model(network.eval().requires_grad_(False), card)


@lru_cache(maxsize=8)
def load_once(name: str, device: str = "cpu") -> Model:
    """Load a network onto ``device`` as :func:`load` does, and keep it for the life of the process."""
    model = load(name)
    # The annotations of torch lack the memory format.
    model.network.to(torch.device(device), memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
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
