"""Memory that each stage needs."""

from __future__ import annotations

import numpy as np

from ...models.io.images import open_image

MEMORY = {
    "conform": (0.4, 0.4),
    "skullstrip": (0.8, 1.6),
    "intracranial": (0.8, 1.6),
    "bias": (0.8, 2.4),
    "segmentation": (1.2, 1.4),
    "registration": (1.6, 0.4),
    "hippocampus": (0.8, 1.0),
    "lesion": (0.9, 1.0),
    "quality": (0.9, 1.0),
    "parcellation": (0.9, 1.0),
    "outputs": (0.8, 1.3),
}
"""Measured memory (GB) of each stage's process: a fixed part, and a part per 256^3 voxels of the image."""


def memory(source_file: str) -> dict[str, float]:
    """Return the memory that each stage needs for an image.

    Parameters
    ----------
    source_file : str
        The image; only its header is read. An unreadable one counts as 256^3 voxels.

    Returns
    -------
    dict of str to float
        Memory (GB) by stage.
    """
    size = voxels(source_file) / 256**3
    return {stage: round(fixed + more * size, 2) for stage, (fixed, more) in MEMORY.items()}


def voxels(source_file: str) -> float:
    """Return the number of voxels of an image; 256^3 if it cannot be read.

    Parameters
    ----------
    source_file : str
        The image; only its header is read.
    """
    try:
        return float(np.prod(open_image(source_file).shape[:3]))
    except Exception:  # the conform stage reports what is wrong with it
        return 256.0**3
