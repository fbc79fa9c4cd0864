"""Tissues of the program's own segmentation, as further inputs of networks for labels of a user."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...geometry.volume import Volume
from ...population import labels

VENTRICLES = (4, 5, 14, 15, 43, 44)
"""FreeSurfer ids of the ventricles."""

CHANNELS = (*labels.DSEG_NAMES, "ventricles")
"""Probabilities of tissues, and where the ventricles are: protocols differ in the fluid around the brain."""


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
