"""The parts of the hippocampus as a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.hippocampus import hippocampus
from ..models.io import outputs
from ..models.population import labels
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives
from .io.derivatives import Names
from .segmentation import read_measures

CONTRASTS = ("T1w",)
"""Suffixes of images that the network was trained on."""

COLUMNS = {
    "index": {"Description": "Index of the part, as in desc-hippocampus_dseg"},
    "name": {"Description": "Name of the part"},
    "hemisphere": {"Description": "Side of the brain", "Levels": {"L": "left", "R": "right"}},
    "volume_mm3": {"Description": "Sum of the part's probability over all voxels", "Units": "mm^3"},
}
"""Columns of the table of volumes."""


class _FindHippocampusInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the bias-corrected scan")
    in_structures = File(exists=True, mandatory=True, desc="FreeSurfer ids")
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' centroids")
    model = Str("hippocampus", usedefault=True, desc="weights; empty: the population has none")
    contrast = Str("T1w", usedefault=True, desc="suffix of the scan")


class _FindHippocampusOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="anterior and posterior part of each side; none for other contrasts")
    out_volumes = File(exists=True, desc="JSON: volumes (mm3) by label")
    notes = traits.List(Str, desc="what a reader of the results should know")


class FindHippocampus(Stage):
    """Tell anterior and posterior part of both hippocampi."""

    input_spec = _FindHippocampusInputSpec
    output_spec = _FindHippocampusOutputSpec

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        why_not = skipped(given.contrast, given.model)
        if why_not:
            self._results["notes"] = [why_not]
            return
        _, centroids = read_measures(given.in_measures)
        image, structures = load(given.in_file), load(given.in_structures)
        result, notes = on_device(
            lambda device: hippocampus.find_both(
                image, structures, centroids, model=given.model, device=device
            ),
            given.device,
        )
        self._results["out_file"] = save(result.labels, folder / "hippocampus.nii")
        path = folder / "hippocampus.json"
        path.write_text(json.dumps(result.volumes))
        self._results["out_volumes"] = str(path)
        self._results["notes"] = [*notes, *result.notes]


def skipped(contrast: str, model: str) -> str:
    """Why the parts of the hippocampus are not looked for; empty if they are.

    Examples
    --------
    >>> skipped("T1w", "hippocampus")
    ''
    """
    if not model:
        return "The step hippocampus was left out: there is no network for brains of this population."
    if contrast not in CONTRASTS:
        return (
            f"The step hippocampus was left out: its network knows {' and '.join(CONTRASTS)} images only, "
            f"and this one is {contrast}."
        )
    return ""


def rows(path: str | Path) -> list[tuple[Any, ...]]:
    """Rows of the table of volumes."""
    volumes = json.loads(Path(path).read_text())
    return [
        (label.index, label.name, label.name[0], f"{volumes[str(label.index)]:.2f}")
        for label in labels.load(hippocampus.TABLE)
        if label.index
    ]


def sidecars(names: Names, segmented: dict[str, Any], notes: list[str]) -> dict[str, dict[str, Any]]:
    """Sidecars of the image and of the table; ``segmented`` is that of the structures."""
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
