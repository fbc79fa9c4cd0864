"""Several networks of one label table in one file, such as those of the folds, with one card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...models.errors import UsageError
from ...models.networks import purpose, zoo
from ...models.population import labels
from ...models.segmentation.own.inputs import DEFAULTS, specification
from ...models.segmentation.own.tissues import SEEN

SAME = ("spacing", "coarse", "use")
"""Entries of the cards that must agree, as do label table and inputs but for the axes of slices.

A network that sees the program's tissues goes with one that sees the image alone, the first channels."""


def combine(paths: Sequence[Path], out: Path) -> Path:
    """Write networks whose probabilities are averaged as one network.

    Parameters
    ----------
    paths : sequence of Path
        Weights of the kind ``supervised``, two or more.
    out : Path
        Weights to write, ``NAME.safetensors``, with their card.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    UsageError
        If there are too few, or they do not fit together.
    ModelError
        If one is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError(None, f"{len(paths)} networks are no ensemble", "Give two or more")
    if out.suffix != ".safetensors":
        raise UsageError(out, "the ensemble is no .safetensors file", "Name it NAME.safetensors")
    members: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    cards = []
    for path in paths:
        loaded = zoo.load(str(path))
        purpose.check(str(path), purpose.purpose_of(loaded.card))
        cards.append(loaded.card)
        _check(cards[0], loaded.card, path)
        inputs = specification(loaded.card)
        axes = inputs["axes"] if inputs["sampler"] == "slices" else []
        members.append(loaded.card["architecture"] | {"axes": axes, "shape": loaded.card["shape"]})
        prefix = f"members.{len(members) - 1}."
        state |= {prefix + key: value for key, value in loaded.network.state_dict().items()}
    own: dict[str, Any] = {
        "name": out.stem,
        "architecture": {"class": "Ensemble", "arguments": {"members": members}},
    }
    own |= _seen(cards, members, paths)
    own["flip"] = min(float(card.get("flip", 1.0)) for card in cards)
    own |= _trained(cards)
    own["members"] = [{key: card.get(key) for key in ("name", "sha256", "scores")} for card in cards]
    for key, word in (("training_data", "; "), ("license", "; ")):
        own[key] = word.join(dict.fromkeys(str(card.get(key)) for card in cards))
    out.parent.mkdir(parents=True, exist_ok=True)
    return zoo.save(out.parent, state, cards[0] | own | {"scores": {}})


def _trained(cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return steps and hours of all members together, and what they began from, each network once."""
    counted = {card.get("sha256") for card in cards}
    begun: dict[str, dict[str, Any]] = {}
    for card in cards:
        begun |= {one["sha256"]: one for one in card.get("begun_from") or [] if one["sha256"] not in counted}
    sums = {key: sum(card.get(key) or 0 for card in cards) for key in ("steps", "hours")}
    return {"steps": sums["steps"], "hours": round(sums["hours"], 2), "begun_from": list(begun.values())}


def _seen(
    cards: Sequence[dict[str, Any]], members: Sequence[dict[str, Any]], paths: Sequence[Path]
) -> dict[str, Any]:
    """Return the entries of the card on inputs, where some networks see tissues and others the image alone.

    Members of the second kind then say how many channels they see.
    """
    inputs = [specification(card) for card in cards]
    sighted = [k for k, one in enumerate(inputs) if one["tissues"]]
    if len(sighted) in (0, len(cards)):
        return _tissues_seen(cards, paths)
    for k in sighted:
        if inputs[k]["tissues"] != inputs[sighted[0]]["tissues"]:
            reason = f"it sees other tissues ({inputs[k]['tissues']}) than {paths[sighted[0]].name}"
            raise UsageError(paths[k], reason, "Give networks that see the same")
    for one, member in zip(inputs, members, strict=True):
        if not one["tissues"]:
            member["channels"] = len(one["contrasts"])
    return {"inputs": dict(cards[sighted[0]]["inputs"])} | _tissues_seen(cards, paths)


def _tissues_seen(cards: Sequence[dict[str, Any]], paths: Sequence[Path]) -> dict[str, str]:
    """Return which weights found the tissues that the networks saw; empty if a card does not say it.

    Raises
    ------
    UsageError
        If they saw those of different weights.
    """
    sighted = [k for k, card in enumerate(cards) if specification(card)["tissues"]]
    seen = {k: str(cards[k][SEEN]) for k in sighted if cards[k].get(SEEN)}
    first = next(iter(seen), -1)
    for k, one in seen.items():
        if one != seen[first]:
            reason = f"it saw the tissues of other weights than {paths[first].name}"
            raise UsageError(paths[k], reason, "Train them with one version of the program")
    return {SEEN: seen[first] if len(seen) == len(sighted) else ""} if sighted else {}


def _check(first: dict[str, Any], card: dict[str, Any], path: Path) -> None:
    """Refuse a network that does not see and label what the first one does."""
    if purpose.kind_of(card) != purpose.SUPERVISED:
        reason = f"it is of the kind {purpose.kind_of(card)}"
        raise UsageError(path, reason, "Give networks that were trained on images with labels")
    if labels.of_card(card).labels != labels.of_card(first).labels:
        raise UsageError(
            path, "it has another label table than the first network", "Give networks of one table"
        )
    differing = [key for key in SAME if card.get(key) != first.get(key)]
    one, other = specification(first), specification(card)
    if not (one["tissues"] and other["tissues"]):
        one["tissues"] = other["tissues"]
    # How often training drew which label (weights) does not matter.
    differing += [key for key in DEFAULTS if key != "axes" and one[key] != other[key]]
    if differing:
        reason = f"its {differing[0]} differs from that of the first network"
        raise UsageError(path, reason, "Give networks that see the same")
