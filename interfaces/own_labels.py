"""Labels of a network of the user as a node, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiPath,
    OutputMultiObject,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)

from ..models.data import model_files
from ..models.errors import InputError
from ..models.geometry.volume import Volume
from ..models.io import outputs
from ..models.networks import purpose
from ..models.population import labels
from ..models.segmentation.own import labels as own
from ..models.segmentation.own import tissues
from ..models.segmentation.own.inputs import as_acquired, specification
from ..models.segmentation.own.inputs import sees_tissues as sees_tissues_of
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives
from .io.derivatives import Names

COLUMNS = {
    "index": {"Description": "Label, as in the segmentation"},
    "name": {"Description": "Name of the label"},
    "volume_mm3": {"Description": "Sum of the label's probability over all voxels", "Units": "mm^3"},
    "label_volume_mm3": {"Description": "Volume of the voxels with the label", "Units": "mm^3"},
}
"""Columns of the table of volumes."""

OF_STRUCTURES = (
    "Totals of volumes are sums of the structures, not of the tissue probabilities of this network."
)
"""Note where the tissues are not those of the structures."""

REMEDY = "Leave the participant out, use another network, or do not switch coregistration off"
"""What to do without an image of a network's contrast."""

OF_STEP = {
    "skullstrip": ("mask",),
    "segmentation": ("structures", "tissue", "dseg", "probseg", "feta"),
    "lesion": ("lesion_mask", "lesion_probability"),
    "hippocampus": ("hippocampus",),
}
"""Outputs whose sidecars name the network of a step."""


class _SegmentOwnLabelsInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="scan, corrected for bias or not as the card says")
    in_mask = File(exists=True, mandatory=True, desc="brain mask, on the scan's grid")
    model = Str(mandatory=True, desc="weights of the network")
    contrast = Str("T1w", usedefault=True, desc="BIDS suffix of the scan")
    in_others = InputMultiPath(File(exists=True), desc="images of other contrasts, on the scan's grid")
    others = traits.List(Str, desc="BIDS suffixes of in_others")
    in_structures = File(exists=True, desc="structures (FreeSurfer ids), for a network that sees the tissues")
    in_probabilities = InputMultiPath(File(exists=True), desc="GM, WM and CSF, for such a network")
    precomputed = traits.Bool(False, usedefault=True, desc="whether these are precomputed")
    tissues_by = Str(desc="weights that found these, if they are not")
    effort = traits.Enum("fast", "accurate", usedefault=True, desc="accurate averages with the mirror image")


class _SegmentOwnLabelsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="labels of the network's table, int16")
    out_volumes = File(exists=True, desc="JSON: soft volumes (mm3) by label")
    out_dseg = File(exists=True, desc="1 GM, 2 WM, 3 CSF, int16, if the table has them")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32, if it has them")
    notes = traits.List(Str, desc="notes on the results")


class SegmentOwnLabels(Stage):
    """Segment the labels of a network of the user."""

    input_spec = _SegmentOwnLabelsInputSpec
    output_spec = _SegmentOwnLabelsOutputSpec

    def _stage(self, folder: Path) -> None:
        mask, model = load(self.inputs.in_mask), self.inputs.model
        name, card = model_files.title(model), model_files.read_card(model)
        trained = specification(card)["contrasts"]
        images = [load(path) for path in self._images(name, trained)]
        find = partial(own.segment, images, mask, model, effort=self.inputs.effort, tissues=self._tissues())
        found, notes = on_device(lambda device: find(device=device), self.inputs.device)
        if len(trained) == 1 and self.inputs.contrast not in trained:
            notes.append(
                f"The network {name} was trained on {', '.join(trained)}, and the image is "
                f"{self.inputs.contrast}: check its labels."
            )
        if isdefined(self.inputs.in_probabilities):
            notes += self._other_tissues(name)
        tissues = f", and the tissues. {OF_STRUCTURES}" if found.dseg is not None else ""
        count = len(found.table.labels) - 1
        notes.append(f"The network {name} segmented {count} labels of its own{tissues or '.'}")
        self._results["out_file"] = save(found.labels, folder / "labels.nii")
        path = folder / "volumes.json"
        path.write_text(json.dumps(found.volumes))
        self._results["out_volumes"] = str(path)
        if found.dseg is not None:
            self._results["out_dseg"] = save(found.dseg, folder / "dseg.nii")
            self._results["out_probabilities"] = [
                save(found.tissues[name], folder / f"{name}.nii") for name in labels.DSEG_NAMES
            ]
        self._results["notes"] = [*notes, *found.notes]

    def _tissues(self) -> list[Volume]:
        """Return the tissues of the program's segmentation; empty if they are not given."""
        if not isdefined(self.inputs.in_probabilities):
            return []
        given = map(load, self.inputs.in_probabilities)
        return tissues.channels(
            dict(zip(labels.DSEG_NAMES, given, strict=True)), load(self.inputs.in_structures)
        )

    def _other_tissues(self, name: str) -> list[str]:
        """Return a note if the tissues are not of the weights that found them in training."""
        if self.inputs.precomputed:
            return [f"The network {name} saw precomputed tissues, and others in training: check its labels."]
        if not isdefined(self.inputs.tissues_by):
            return []
        told = tissues.other_weights(model_files.read_card(self.inputs.model), self.inputs.tissues_by)
        return [told] if told else []

    def _images(self, name: str, wanted: list[str]) -> list[str]:
        """Return the files of the network's contrasts; the scan for a network of one."""
        if len(wanted) == 1:
            return [self.inputs.in_file]
        inputs = self.inputs
        files = dict(zip(inputs.others, inputs.in_others, strict=True)) if isdefined(inputs.in_others) else {}
        files[self.inputs.contrast] = self.inputs.in_file
        if missing := [one for one in wanted if one not in files]:
            reason = f"the network {name} needs {' and '.join(wanted)}, and there is no {missing[0]} image"
            raise InputError(self.inputs.in_file, reason, REMEDY)
        return [files[one] for one in wanted]


def has_tissues(model: str) -> bool:
    """Return whether the labels of a network include the tissues of a whole brain."""
    return own.has_tissues(labels.of_card(model_files.read_card(model)))


def sees_acquired(model: str) -> bool:
    """Return whether a network sees images without correction of their bias."""
    return as_acquired(model_files.read_card(model))


def sees_tissues(model: str) -> bool:
    """Return whether a network sees the tissues of the program's own segmentation."""
    return sees_tissues_of(model_files.read_card(model))


def several_contrasts(model: str) -> bool:
    """Return whether a network sees images of several contrasts."""
    return len(specification(model_files.read_card(model))["contrasts"]) > 1


def rows(model: str, path: str | Path, labeled: np.ndarray, voxel_mm3: float) -> list[tuple[Any, ...]]:
    """Return the rows of the table of volumes.

    Parameters
    ----------
    model : str
        Weights.
    path : path-like
        JSON with the soft volumes (mm3) by label.
    labeled : ndarray of int, shape (X, Y, Z)
        Labels.
    voxel_mm3 : float
        Volume of a voxel (mm3).

    Returns
    -------
    list of tuple
        Cells in the order of ``COLUMNS``.
    """
    return volume_rows(model, json.loads(Path(path).read_text()), labeled, voxel_mm3)


def volume_rows(
    model: str, soft: Mapping[str, float], labeled: np.ndarray, voxel_mm3: float
) -> list[tuple[Any, ...]]:
    """Return the rows of the table of volumes from the soft volumes (mm3) by label; see :func:`rows`."""
    table = labels.of_card(model_files.read_card(model))
    counts = np.bincount(labeled.ravel().astype(np.int64), minlength=table.labels[-1].index + 1)
    return [
        (label.index, label.name, f"{soft[str(label.index)]:.2f}", f"{counts[label.index] * voxel_mm3:.2f}")
        for label in table
        if label.index
    ]


def described(model: str) -> dict[str, str]:
    """Return what sidecars say of a network of the user: name, SHA-256, training data and license."""
    card = model_files.read_card(model)
    found = {
        "Name": card.get("name") or model_files.title(model),
        "SHA256": card.get("sha256"),
        "TrainingData": card.get("training_data"),
        "License": card.get("license"),
    }
    return {key: str(value) for key, value in found.items() if value}


def own_labels_of(networks: Mapping[str, str]) -> str:
    """Return the network of own labels among those of the user; empty if there is none."""
    name = networks.get("segmentation", "")
    return name if name and purpose.purpose_of(model_files.read_card(name)) == "labels" else ""


def sidecars(names: Names, model: str, segmented: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sidecars of the labels and of their volumes.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    model : str
        Weights.
    segmented : dict
        Sidecar of the segmentation into structures.
    """
    desc = outputs.own_desc(model_files.title(model))
    image = outputs.ending("own_labels", network=desc)
    about: dict[str, Any] = {"Network": described(model)}
    if sees_acquired(model):
        about["Sources"] = [*names.raws, names.uri(names.native(outputs.ending("mask"))[0])]
    if sees_tissues(model):
        sources = about.get("Sources") or segmented.get("Sources", [])
        about["Sources"] = [*sources, names.uri(names.native(outputs.ending("structures"))[0])]
    return {
        image: segmented | derivatives.described("own_labels") | about,
        outputs.ending("own_volumes", network=desc): {
            **COLUMNS,
            "Network": about["Network"],
            "Sources": [names.uri(image)],
        },
    }


def mark(native: dict[str, dict[str, Any]], networks: Mapping[str, str], *, own_tissues: bool) -> None:
    """Add the networks of the user to the sidecars of what they computed.

    Parameters
    ----------
    native : dict of str to dict
        Sidecars by ending; changed in place.
    networks : mapping of str to str
        Networks of the user by step.
    own_tissues : bool
        Whether the tissues are those of a network of own labels.
    """
    for step, model in networks.items():
        ids = OF_STEP.get(step, ())
        if step == "segmentation" and own_labels_of(networks):
            ids = ("dseg", "probseg") if own_tissues else ()
        for ending, content in native.items():
            output = outputs.find(ending)
            if output is not None and output.id in ids:
                content["Network"] = described(model)
