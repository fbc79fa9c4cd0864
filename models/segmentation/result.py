"""Results of skull-stripping and segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import UsageError
from ..geometry.volume import Volume, resample
from ..localization.place import Place
from ..population import labels

EXTENT, PRECOMPUTED = "extent", "precomputed"
"""Sources of a brain mask that are no network."""


def source_words(source: str) -> str:
    """Return what made a brain mask, in words.

    Parameters
    ----------
    source : str
        Name of a network, :data:`EXTENT` or :data:`PRECOMPUTED`.

    Examples
    --------
    >>> source_words("deepbet"), source_words("extent")
    ('network deepbet', 'extent of the skull-stripped image')
    """
    others = {EXTENT: "extent of the skull-stripped image", PRECOMPUTED: "precomputed"}
    return others.get(source, f"network {source}")


@dataclass(frozen=True)
class SkullStripResult:
    """Brain mask of a scan.

    Attributes
    ----------
    mask : Volume, uint8
        1 in the brain, on the input's grid.
    stripped : bool
        Whether the scan was skull-stripped.
    notes : list of str
        Notes on the results.
    misfit : str
        Why the orientation in the header does not fit the head; empty if it does.
    source : str
        Name of the network that made the mask, or :data:`EXTENT`.
    region : Volume, uint8, or None
        The mask and fluid around it, in which the intensities of tissues and fluid are estimated; None if
        that is the mask itself.
    place : Place or None
        Where the coarse network found the brain.
    """

    mask: Volume
    stripped: bool
    notes: list[str] = field(default_factory=list)
    misfit: str = ""
    source: str = ""
    region: Volume | None = None
    place: Place | None = None


@dataclass(frozen=True)
class SegmentationResult:
    """Segmentation of a brain; all volumes but ``posteriors`` are on the input's grid.

    Attributes
    ----------
    structures : Volume, int16
        FreeSurfer ids.
    tissue : Volume, uint8
        Position in :data:`brainseg.models.population.labels.TISSUES`.
    probabilities : dict of str to Volume
        ``GM``, ``WM`` and ``CSF``, float32.
    volumes : dict of int to float
        Soft volume (mm3) by FreeSurfer id: the sum of the probabilities in the brain mask, which add up to 1
        there as in ``probabilities``.
    centroids : dict of int to tuple
        Center (mm, RAS) by FreeSurfer id.
    notes : list of str
        Notes on the results.
    uncertainty : dict of int to float
        By FreeSurfer id, the mean entropy of the posteriors over the label's voxels, divided by its maximum:
        0 certain, 1 all structures equally likely. Structures without a voxel have no entry.
    posteriors : Volume, shape (C, X, Y, Z), or None
        Probabilities of the label table's unsided structures at the working voxel size.
    label_table : str
        Name of that table.
    intervals : dict of int to tuple
        By FreeSurfer id, lower and upper end (mm3) of the volume
        (:mod:`brainseg.models.geometry.interval`); empty without probabilities.
    """

    structures: Volume
    tissue: Volume
    probabilities: dict[str, Volume]
    volumes: dict[int, float]
    centroids: dict[int, tuple[float, float, float]]
    notes: list[str] = field(default_factory=list)
    uncertainty: dict[int, float] = field(default_factory=dict)
    posteriors: Volume | None = None
    label_table: str = "adult"
    intervals: dict[int, tuple[float, float]] = field(default_factory=dict)


def posteriors_on(volume: Volume, result: SegmentationResult) -> tuple[list[int], list[str], np.ndarray]:
    """Return the posteriors of the structures on a scan's grid.

    Parameters
    ----------
    volume : Volume
        The scan.
    result : SegmentationResult
        Its segmentation.

    Returns
    -------
    indices : list of int
        FreeSurfer ids; left stands for both sides.
    names : list of str
        Names without the side.
    probabilities : ndarray of float32, shape (X, Y, Z, C)
        Probability of each structure, both sides together; 0 outside the brain mask.

    Raises
    ------
    UsageError
        If the segmentation method keeps no posteriors.
    """
    if result.posteriors is None:
        raise UsageError(
            None, "the segmentation method of this population keeps no posteriors", "Leave --posteriors out"
        )
    table = labels.load(result.label_table)
    rows = [k for k, index in enumerate(table.unsided) if index]
    out, inside = np.empty((*volume.grid.shape, len(rows)), np.float32), result.structures.data.numpy() > 0
    for place, k in enumerate(rows):
        part = Volume(result.posteriors.data[k], result.posteriors.affine)
        out[..., place] = resample(part, volume.grid).data.numpy() * inside
    indices = [table.unsided[k] for k in rows]
    return indices, [table[i].name.removeprefix("Left-") for i in indices], out
