"""The mean of the weights of several trainings of one network that began from the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.errors import UsageError
from ...models.networks import zoo

SAME = (
    "architecture", "label_table", "labels", "spacing", "kind", "coarse", "inputs", "looks", "use", "encoder",
    "finder", "tissues_sha256",
)  # fmt: skip
"""Entries of the cards that must agree."""


def average(paths: Sequence[Path], out: Path, *, eight_bits: bool = False) -> Path:
    """Write the mean of the weights of several networks as one network, as fast as each of them.

    Trainings that began from the same weights end near each other, and the network of their mean weights is
    usually better than each (Wortsman et al. 2022, model soups). The weights that they began from can be one
    of them. It is not checked whether all of a network came from the common weights, or a part of it began
    at random.

    Parameters
    ----------
    paths : sequence of Path
        Weights, two or more.
    out : Path
        Weights to write, ``NAME.safetensors``, with their card.
    eight_bits : bool
        Whether to write eight bits, with a scale for every output channel.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    UsageError
        If there are too few, they are of different networks, or have no common origin.
    ModelError
        If one is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError(None, f"{len(paths)} network has no mean", "Give two or more")
    if out.suffix != ".safetensors":
        raise UsageError(out, "the result is no .safetensors file", "Name it NAME.safetensors")
    cards: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    for path in paths:
        loaded = zoo.load(str(path))
        if any(loaded.card["sha256"] == card["sha256"] for card in cards):
            raise UsageError(path, "it is there twice", "Give every training once")
        cards.append(loaded.card)
        _check(cards[0], loaded.card, path)
        for key, value in loaded.network.state_dict().items():
            state[key] = state.get(key, torch.zeros(())) + value.float() / len(paths)
    own: dict[str, Any] = {"name": out.stem} | _trained(cards)
    for key in ("training_data", "license"):
        own[key] = "; ".join(dict.fromkeys(str(card.get(key)) for card in cards))
    out.parent.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in cards[0].items() if key not in ("selection", "recipe_sha256")}
    stored = zoo.quantized(state) if eight_bits else state
    return zoo.save(out.parent, stored, card | own | {"scores": {}})


def _origins(card: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a network and the weights that it began from by their SHA-256."""
    first = {key: card.get(key) for key in ("name", "sha256", "steps", "hours")}
    return {one["sha256"]: one for one in [first, *(card.get("begun_from") or [])]}


def _trained(cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return steps and hours of the trainings together, their scores, and the weights before them."""
    origins = {k: v for card in cards for k, v in _origins(card).items()}
    # Weights from which the others began count as before them, not as one of the trainings.
    before = {k for card in cards for k in _origins(card) if k != card["sha256"]}
    trained = [card for card in cards if card["sha256"] not in before]
    return {
        "steps": sum(card.get("steps") or 0 for card in trained),
        "hours": round(sum(card.get("hours") or 0 for card in trained), 2),
        "begun_from": [one for key, one in origins.items() if key in before],
        "averaged": [{key: card.get(key) for key in ("name", "sha256", "steps", "scores")} for card in cards],
    }


def _check(first: dict[str, Any], card: dict[str, Any], path: Path) -> None:
    """Refuse a network that is another one than the first, or did not begin where it did."""
    differing = [key for key in SAME if card.get(key) != first.get(key)]
    if differing:
        reason = f"its {differing[0]} differs from that of the first network"
        raise UsageError(path, reason, "Give trainings of one network")
    if not _origins(first).keys() & _origins(card).keys():
        reason = (
            "it and the first network did not begin from the same weights, so that their mean means nothing"
        )
        raise UsageError(path, reason, "brainseg train combine averages the probabilities of such networks")
