"""Tissues of the program's own segmentation, as further inputs of networks for labels of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...data import model_files
from ...geometry.volume import Volume
from ...population import labels, populations

VENTRICLES = (4, 5, 14, 15, 43, 44)
"""FreeSurfer ids of the ventricles."""

CHANNELS = (*labels.DSEG_NAMES, "ventricles")
"""Probabilities of tissues, and where the ventricles are: protocols differ in the fluid around the brain."""


SEEN = "tissues_sha256"
"""Entry of a card: the checksum of the weights whose tissues the network saw in training."""


def weights(population: str) -> str:
    """Return the checksum of the weights that find the tissues of a population; empty if unknown."""
    return checksum(populations.load(population).segmentation)


def checksum(model: str) -> str:
    """Return the checksum (SHA-256) of weights by their card; empty if it has none."""
    return str(model_files.read_card(model).get("sha256") or "")


def other_weights(card: Mapping[str, Any], model: str) -> str:
    """Return a note if a network saw the tissues of other weights in training; empty if it saw these.

    Parameters
    ----------
    card : mapping
        Model card; those of earlier versions do not say what the network saw, which is told as well.
    model : str
        Weights that found the tissues of this image.
    """
    before, now = str(card.get(SEEN) or ""), checksum(model)
    if before and before == now:
        return ""
    which = f"of other weights ({before[:8]})" if before else "of weights that its card does not name"
    return (
        f"The network {card.get('name')} learned with the tissues {which}, and sees those of {now[:8]}: its "
        "labels may be a little worse; train it again."
    )


def channels(probabilities: Mapping[str, Volume], structures: Volume) -> list[Volume]:
    """Return the channels that a network sees beside the image.

    Parameters
    ----------
    probabilities : mapping of str to Volume
        ``GM``, ``WM`` and ``CSF``, of any segmentation by the program.
    structures : Volume, int
        FreeSurfer ids, on the same grid.

    Returns
    -------
    list of Volume, float32
        One volume for each of :data:`CHANNELS`, from 0 to 1.
    """
    inside = torch.isin(structures.data, torch.tensor(VENTRICLES, dtype=structures.data.dtype))
    tissues = [probabilities[name] for name in labels.DSEG_NAMES]
    return [
        *(tissue.with_data(tissue.data.float()) for tissue in tissues),
        structures.with_data(inside.float()),
    ]
