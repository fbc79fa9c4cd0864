"""Labels, tissues and probabilities of a network that was trained on images with labels of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ...errors import InputError
from ...geometry.volume import Volume, resample
from ...networks import aggregation, purpose, zoo
from ...population import labels
from ...population.labels import LabelTable
from .inputs import inputs, specification

BRAIN = ("gm", "wm")
"""Tissues that a label table must have for its tissues to be those of a whole brain."""


@dataclass(frozen=True)
class OwnLabels:
    """Labels of a network of the user; all volumes are on the scan's grid.

    Attributes
    ----------
    labels : Volume, int16
        Indices of the network's label table; 0 outside the brain.
    table : LabelTable
        That table.
    volumes : dict of int to float
        Soft volume (mm3) by index.
    dseg : Volume, int16, or None
        1 GM, 2 WM, 3 CSF; None if the table has no whole brain.
    tissues : dict of str to Volume
        Probabilities of ``GM``, ``WM`` and ``CSF``, float32; empty if ``dseg`` is None.
    notes : list of str
        Notes on the results.
    """

    labels: Volume
    table: LabelTable
    volumes: dict[int, float]
    dseg: Volume | None = None
    tissues: dict[str, Volume] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def has_tissues(table: LabelTable) -> bool:
    """Return whether the labels of a table are tissues of a whole brain: gray and white matter."""
    return set(BRAIN) <= {label.tissue for label in table}


def probabilities(
    images: Sequence[Volume], brain: Volume, model: str, device: str = "cpu", notes: list[str] | None = None
) -> Volume:
    """Return the probabilities of a network's labels on its own grid.

    Parameters
    ----------
    images, brain
        As for :func:`brainseg.models.segmentation.own.inputs.inputs`.
    model : str
        Weights.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, shape (K, X, Y, Z)
        Probabilities in the order of the label table.

    Raises
    ------
    InputError
        If the mask is empty, or there is not one image for each contrast of the network.
    """
    loaded = zoo.load_once(model, device)
    card, spec = loaded.card, specification(loaded.card)
    wanted = list(spec["contrasts"])
    if len(wanted) != len(images):
        reason = f"the network {card.get('name')} needs {len(wanted)} images ({', '.join(wanted)})"
        raise InputError(None, reason, f"Give {len(wanted)} images in this order, or another network")
    if purpose.purpose_of(card) == "skullstrip":
        spec |= {"image": "head"}
    made = inputs(
        images,
        brain,
        spec,
        card["spacing"],
        stride=loaded.stride,
        coarse=card.get("coarse"),
        device=device,
        notes=notes,
    )
    found = aggregation.probabilities(
        loaded.network,
        made.x,
        made.prior,
        device,
        sampler=spec["sampler"],
        shape=card["shape"],
        axes=spec["axes"],
    )
    return Volume(found, made.grid.affine)


def segment(images: Volume | Sequence[Volume], mask: Volume, model: str, device: str = "cpu") -> OwnLabels:
    """Segment the labels of a network of the user in a brain.

    Parameters
    ----------
    images : Volume or sequence of Volume
        Scan, corrected for bias or as acquired as its card says
        (:func:`brainseg.models.segmentation.own.inputs.as_acquired`); of a network of several contrasts one
        for each, in its order.
    mask : Volume
        Brain mask, on the grid of the first.
    model : str
        Weights.
    device : str
        Device of the network.

    Raises
    ------
    InputError
        If the mask is empty, or there is not one image for each contrast of the network.
    """
    notes: list[str] = []
    every = [images] if isinstance(images, Volume) else list(images)
    found = probabilities(every, mask, model, device, notes)
    table = labels.of_card(zoo.load_once(model, device).card)
    return on_scan(found, mask, table, notes)


def on_scan(found: Volume, mask: Volume, table: LabelTable, notes: list[str] | None = None) -> OwnLabels:
    """Return labels, tissues and volumes on a scan's grid, class by class to save memory.

    Parameters
    ----------
    found : Volume, shape (K, X, Y, Z)
        Probabilities of the table's labels, on any grid.
    mask : Volume
        Brain mask, on the grid of the scan; outside is background.
    table : LabelTable
        The labels.
    notes : list of str, optional
        Notes of the result.
    """
    grid, inside = mask.grid, mask.data > 0
    whole = has_tissues(table)
    best, labeled = torch.full(grid.shape, -1.0), torch.zeros(grid.shape, dtype=torch.int16)
    sums = torch.zeros(len(labels.DSEG_NAMES) + 1, *grid.shape) if whole else None
    volumes: dict[int, float] = {}
    for position, label in enumerate(table):
        p = resample(Volume(found.data[position], found.affine), grid).data * inside
        better = p > best
        best = torch.where(better, p, best)
        labeled = torch.where(better & inside, label.index, labeled).to(torch.int16)
        if label.index:
            volumes[label.index] = float(p.sum()) * grid.voxel_volume
        if sums is not None:
            sums[labels.DSEG.get(label.tissue, 0)] += p
    if sums is None:
        return OwnLabels(Volume(labeled, grid.affine), table, volumes, notes=notes or [])
    dseg = torch.where(inside, sums.argmax(0), 0).to(torch.int16)
    shares = {name: Volume(sums[k].clamp(0, 1), grid.affine) for k, name in enumerate(labels.DSEG_NAMES, 1)}
    return OwnLabels(
        Volume(labeled, grid.affine), table, volumes, Volume(dseg, grid.affine), shares, notes or []
    )


def foreground(
    images: Sequence[Volume], brain: Volume, model: str, device: str, notes: list[str] | None = None
) -> Volume:
    """Return the probability of a network's labels together, on its own grid: of a lesion or a brain mask."""
    found = probabilities(images, brain, model, device, notes)
    return Volume(1 - found.data[0], found.affine)
