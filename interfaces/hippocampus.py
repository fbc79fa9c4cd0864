"""Node of the hippocampus stage, and its derivatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.hippocampus import hippocampus
from ..models.io import outputs
from ..models.population import labels
from ..models.population.contrasts import hippocampus_skipped as skipped
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives
from .io.derivatives import Names
from .segmentation import read_measures

COLUMNS = {
    "index": {"Description": "Index of the part, as in desc-hippocampus_dseg"},
    "name": {"Description": "Name of the part"},
    "hemisphere": {"Description": "Side of the brain", "Levels": {"L": "left", "R": "right"}},
    "volume_mm3": {"Description": "Sum of the part's probability over all voxels", "Units": "mm^3"},
}
"""Columns of the table of volumes."""


class _FindHippocampusInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="bias-corrected image")
    in_structures = File(exists=True, mandatory=True, desc="structures, FreeSurfer ids")
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' centroids")
    model = Str(
        "hippocampus", usedefault=True, desc="weights of the network; empty if the population has none"
    )
    contrast = Str("T1w", usedefault=True, desc="suffix of the image")


class _FindHippocampusOutputSpec(TraitedSpec):
    out_file = File(
        exists=True, desc="anterior and posterior part of each side, uint8; undefined for other contrasts"
    )
    out_volumes = File(exists=True, desc="JSON: volumes (mm3) by label")
    notes = traits.List(Str, desc="notes for the report")


class FindHippocampus(Stage):
    """Divide both hippocampi into an anterior and a posterior part."""

    input_spec = _FindHippocampusInputSpec
    output_spec = _FindHippocampusOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        reason = skipped(inputs.contrast, inputs.model)
        if reason:
            self._results["notes"] = [reason]
            return
        _, centroids = read_measures(inputs.in_measures)
        image, structures = load(inputs.in_file), load(inputs.in_structures)
        result, notes = on_device(
            lambda device: hippocampus.find_both(
                image, structures, centroids, model=inputs.model, device=device
            ),
            inputs.device,
        )
        self._results["out_file"] = save(result.labels, folder / "hippocampus.nii")
        path = folder / "hippocampus.json"
        path.write_text(json.dumps(result.volumes))
        self._results["out_volumes"] = str(path)
        self._results["notes"] = [*notes, *result.notes]


def rows(path: str | Path) -> list[tuple[Any, ...]]:
    """Return the rows of the table of volumes.

    Parameters
    ----------
    path : str or Path
        JSON with the volumes (mm3) by label.

    Returns
    -------
    list of tuple
        Index, name, hemisphere and volume (mm3) of each part.
    """
    volumes = json.loads(Path(path).read_text())
    return [
        (label.index, label.name, label.name[0], f"{volumes[str(label.index)]:.2f}")
        for label in labels.load(hippocampus.TABLE)
        if label.index
    ]


def sidecars(names: Names, segmented: dict[str, Any], notes: list[str]) -> dict[str, dict[str, Any]]:
    """Return the sidecars of the image and of the table.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    segmented : dict
        Sidecar of the segmentation into structures.
    notes : list of str
        Notes of all stages.

    Returns
    -------
    dict of str to dict
        Sidecars by the ending of the file that they describe.
    """
    sources = [names.uri(names.preproc), names.uri(names.native(outputs.ending("structures"))[0])]
    image = outputs.ending("hippocampus")
    return {
        image: segmented | derivatives.described("hippocampus") | {"Sources": sources},
        outputs.ending("hippocampus_volumes"): {
            **COLUMNS,
            "Notes": [note for note in notes if "hippocampus" in note],
            "Sources": [names.uri(image)],
        },
    }
