"""Labels, tissues and probabilities of a network that was trained on images with labels of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...geometry.volume import Volume, resample
from ...networks import aggregation, purpose, zoo
from ...population import labels
from ...population.labels import LabelTable
from .inputs import Inputs, inputs, specification

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


def unmirrored(card: Mapping[str, Any]) -> str:
    """Return why a network is not averaged with the mirror image; empty if it can be.

    Parameters
    ----------
    card : mapping
        Model card; its ``flip`` is the probability of mirror images in training.

    Examples
    --------
    >>> rows = [{"index": 1, "name": "Left-Amygdala"}, {"index": 2, "name": "Right-Amygdala"}]
    >>> unmirrored({"labels": rows}), unmirrored({"labels": rows[:1]})
    ('', 'its label table has no label for the other side of Left-Amygdala')
    >>> unmirrored({"labels": rows, "flip": 0.0})
    'it was trained without mirror images (flip: 0)'
    """
    if not float(card.get("flip", 1.0)):
        return "it was trained without mirror images (flip: 0)"
    if alone := labels.of_card(card).one_sided:
        return f"its label table has no label for the other side of {alone[0]}"
    return ""


def probabilities(
    images: Sequence[Volume],
    brain: Volume,
    model: str,
    device: str = "cpu",
    notes: list[str] | None = None,
    *,
    effort: str = "fast",
    tissues: Sequence[Volume] = (),
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
    effort : {'fast', 'accurate'}
        ``accurate`` averages the probabilities of the image and its mirror image, in which left and right
        labels change places; it becomes a note where the network does not allow it (:func:`unmirrored`).
    tissues : sequence of Volume
        As for :func:`brainseg.models.segmentation.own.inputs.inputs`.

    Returns
    -------
    Volume, shape (K, X, Y, Z)
        Probabilities in the order of the label table.

    Raises
    ------
    InputError
        If the mask is empty, there is not one image for each contrast of the network, or it sees tissues and
        there are none.
    """
    loaded = zoo.load_once(model, device)
    card, spec = loaded.card, specification(loaded.card)
    _check_images(card, list(spec["contrasts"]), len(images))
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
        tissues=tissues,
    )
    both = effort == "accurate" and not unmirrored(card)
    if notes is not None:
        notes += _notes(card, effort)
    return Volume(_averaged(loaded, made, spec, device, both), made.grid.affine)


def _notes(card: Mapping[str, Any], effort: str) -> list[str]:
    """Return what was asked for and a network cannot do."""
    if effort == "accurate" and (reason := unmirrored(card)):
        return [f"The network {card.get('name')} was not averaged with the mirror image: {reason}."]
    return []


def _check_images(card: Mapping[str, Any], wanted: list[str], count: int) -> None:
    """Refuse another number of images than that of the network's contrasts."""
    if len(wanted) != count:
        reason = f"the network {card.get('name')} needs {len(wanted)} images ({', '.join(wanted)})"
        raise InputError(None, reason, f"Give {len(wanted)} images in this order, or another network")


@torch.inference_mode()
def _averaged(loaded: zoo.Model, made: Inputs, spec: Mapping[str, Any], device: str, both: bool) -> Tensor:
    """Return the probabilities of inputs, or ``both`` their mean and that of the mirror image."""
    seen = {"sampler": spec["sampler"], "shape": loaded.card["shape"], "axes": spec["axes"]}
    found = aggregation.probabilities(loaded.network, made.x, made.prior, device, **seen)
    if not both:
        return found
    other = mirrored(made, spec["frame"] == "cascade")
    again = aggregation.probabilities(loaded.network, other.x, other.prior, device, **seen)
    for place, partner in enumerate(labels.of_card(loaded.card).exchanged):  # in place, to save memory
        found[place].add_(again[partner].flip(0)).div_(2)
    return found


def mirrored(made: Inputs, coordinates: bool) -> Inputs:
    """Return the mirror image of inputs, left to right, on the same grid.

    Parameters
    ----------
    made : Inputs
        Inputs of a network.
    coordinates : bool
        Whether the second channel is the coordinate from left to right, whose sign changes.
    """
    x = made.x.flip(1)
    if coordinates:
        x[1] *= -1
    return Inputs(made.grid, x, None if made.prior is None else made.prior.flip(1))


def segment(
    images: Volume | Sequence[Volume],
    mask: Volume,
    model: str,
    device: str = "cpu",
    *,
    effort: str = "fast",
    tissues: Sequence[Volume] = (),
) -> OwnLabels:
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
    effort, tissues
        As for :func:`probabilities`.

    Raises
    ------
    InputError
        As :func:`probabilities`.
    """
    notes: list[str] = []
    every = [images] if isinstance(images, Volume) else list(images)
    found = probabilities(every, mask, model, device, notes, effort=effort, tissues=tissues)
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
