"""What a network is for, by its model card, so that a wrong one is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data import model_files, user
from ..errors import UsageError
from ..population import labels

PURPOSES = {
    "localization": "find the brain in a head",
    "intracranial": "find the cranial cavity",
    "skullstrip": "skull-strip",
    "t1w mask": "skull-strip T1-weighted scans",
    "segmentation": "segment the brain in a head",
    "labels": "segment labels of its own",
    "pose": "find the pose of a fetal brain",
    "upright segmentation": "segment a fetal brain in the atlas frame",
    "lesion": "segment lesions",
    "registration": "predict velocities between brains",
    "hippocampus": "segment the hippocampus",
    "hippocampus registration": "register hippocampi",
    "synthesis": "draw images of brains",
}
"""What networks do, by purpose."""

SUPERVISED = "supervised"
"""Kind of networks that are trained on images with labels."""

USES = {"labels": "labels", "lesion": "lesion", "mask": "skullstrip"}
"""Purpose of such a network by the ``use`` on its card."""

OF_KIND = {
    "whole-head": "localization",
    "cavity": "intracranial",
    "any-position": "pose",
    "upright": "upright segmentation",
    "lesion": "lesion",
    "t1w-mask": "t1w mask",
    "registration": "registration",
    "crop": "hippocampus",
    "pair": "hippocampus registration",
    "hippocampus-registration": "hippocampus registration",
    "latent-diffusion": "synthesis",
}
"""Purpose of a network by the kind of its training; that of a cascade depends on its outputs."""

TASKS = {
    "localization": {"structure", "mask"},
    "intracranial": {"mask"},
    "skullstrip": {"mask"},
    "segmentation": {"structure"},
    "pose": {"mask"},
    "upright segmentation": {"structure"},
    "hippocampus": {"structure"},
}
"""Outputs that a network needs for a purpose."""


def outputs(architecture: str, arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of outputs of every task of a network with tasks, empty for other networks.

    Parameters
    ----------
    architecture : str
        Class of the network.
    arguments : mapping of str to Any
        Its arguments.

    Examples
    --------
    >>> outputs("StemUNet", {"tasks": {"mask": {"outputs": 2}}}), outputs("CoarseToFine", {})
    ({'mask': 2}, {'structure': 19, 'tissue': 6})
    """
    if architecture == "CoarseToFine":
        return {"structure": arguments.get("structures", 19), "tissue": arguments.get("tissues", 6)}
    if architecture in ("StemUNet", "StridedUNet"):
        default = {"structure": {"outputs": 19 if architecture == "StemUNet" else 8}}
        merged = {name: len(groups) for name, groups in (arguments.get("merge") or {}).items()}
        tasks = (arguments.get("tasks") or default).items()
        return {name: merged.get(name, spec["outputs"]) for name, spec in tasks}
    return {"structure": arguments["outputs"]} if "outputs" in arguments else {}


def kind_of(card: Mapping[str, Any]) -> str:
    """Return the kind of a network's training; that of cards without it follows from the architecture."""
    if card.get("kind"):
        return str(card["kind"])
    made = card.get("architecture") or {}
    architecture, arguments = str(made.get("class") or ""), made.get("arguments") or {}
    table = str(card.get("label_table"))
    if architecture == "LinkNet":
        return "t1w-mask"
    if architecture == "SliceUNet":
        return "lesion"
    if architecture == "GradientNet":
        return "pair"
    if architecture == "VelocityUNet":
        return "hippocampus-registration" if table == "hippocampus" else "registration"
    if table == "hippocampus":
        return "crop"
    if table.startswith("fetal"):
        return "any-position" if "mask" in outputs(architecture, arguments) else "upright"
    if arguments.get("prior"):
        return "cascade"
    return "whole-head" if "structure" in outputs(architecture, arguments) else "cavity"


def purpose_of(card: Mapping[str, Any]) -> str:
    """Return the purpose of a network, a key of :data:`PURPOSES`; empty if its kind is unknown."""
    kind = kind_of(card)
    if kind == SUPERVISED:
        return USES.get(str(card.get("use", "labels")), "")
    if kind == "cascade":
        found = outputs(card["architecture"]["class"], card["architecture"]["arguments"])
        return "segmentation" if "structure" in found else "skullstrip"
    return OF_KIND.get(kind, "")


def check(name: str, purpose: str) -> dict[str, Any]:
    """Return the card of a network after checking that it is for a purpose.

    Parameters
    ----------
    name : str
        Installed name or ``.safetensors`` file.
    purpose : str
        Key of :data:`PURPOSES`.

    Raises
    ------
    ModelError
        If there is no such network.
    UsageError
        If the network is for something else, or its outputs do not fit its label table.
    """
    card = model_files.read_card(name)
    if "finder" in card:
        reason = "it is of an earlier version, and reads what another network finds"
        raise UsageError(name, reason, "Train it again with the recipe intracranial")
    own = purpose_of(card)
    found = outputs(card["architecture"]["class"], card["architecture"]["arguments"])
    supervised = kind_of(card) == SUPERVISED
    if own != purpose or not (supervised or TASKS.get(purpose, set()) <= set(found)):
        does = f"it is made to {PURPOSES[own]}" if own in PURPOSES else "its purpose is unknown"
        listed = f" (kind {kind_of(card)}{', outputs ' + ', '.join(found) if found else ''})"
        fitting = [one for one in model_files.installed() if _is_for(one, purpose)]
        remedy = f"Installed networks for it: {', '.join(fitting) or 'none'}"
        raise UsageError(name, f"this network does not {PURPOSES[purpose]}; {does}{listed}", remedy)
    if own == "t1w mask":  # no structures, no label table
        return card
    table = str(card.get("label_table"))
    if not card.get("labels") and user.find("labels", f"{table}.tsv") is None:
        reason = f"its card names the label table {table}, which is not installed"
        raise UsageError(name, reason, f"Copy {table}.tsv to {user.folders()[0]}")
    own_table = labels.of_card(card)
    count = len(own_table.labels if supervised else own_table.unsided)
    if found.get("structure", count) != count:
        reason = f"it predicts {found['structure']} structures, but its label table {table} has {count}"
        raise UsageError(name, reason, "Train it with the label table of its recipe")
    return card


def _is_for(name: str, purpose: str) -> bool:
    try:
        return purpose_of(model_files.read_card(name)) == purpose
    except (model_files.ModelError, KeyError, TypeError):
        return False
