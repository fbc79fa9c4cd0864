"""Segmentation as a node."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, traits

from ..models.population import labels
from ..models.segmentation import segmentation
from .base import NetworkInputSpec, Stage, load, on_device, save


class _SegmentInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the bias-corrected scan")
    in_mask = File(exists=True, mandatory=True, desc="the brain, on the scan's grid")
    model = Str("segmentation", usedefault=True, desc="weights of the fine network")
    coarse_model = Str("head-coarse", usedefault=True, desc="weights that find the brain")
    label_table = Str("", usedefault=True, desc="a coarser label table than the network's own")
    accurate = traits.Bool(False, usedefault=True, desc="whether the mirror image is looked at too")


class _SegmentOutputSpec(TraitedSpec):
    out_structures = File(exists=True, desc="FreeSurfer ids, int16")
    out_tissue = File(exists=True, desc="position in models.labels.TISSUES, uint8")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    out_measures = File(exists=True, desc="JSON: volumes (mm3), centroids (mm), uncertainty by FreeSurfer id")
    notes = traits.List(Str, desc="what a reader of the results should know")


class Segment(Stage):
    """Segment a brain into structures and tissues."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _stage(self, folder: Path) -> None:
        scan, mask = load(self.inputs.in_file), load(self.inputs.in_mask)
        find = partial(
            segmentation.segment,
            scan,
            mask,
            model=self.inputs.model,
            coarse_model=self.inputs.coarse_model,
            accurate=self.inputs.accurate,
            label_table=self.inputs.label_table or None,
        )
        result, notes = on_device(lambda device: find(device=device), self.inputs.device)
        self._results["out_structures"] = save(result.structures, folder / "structures.nii")
        self._results["out_tissue"] = save(result.tissue, folder / "tissue.nii")
        self._results["out_probabilities"] = [
            save(result.probabilities[name], folder / f"{name}.nii") for name in labels.DSEG_NAMES
        ]
        self._results["out_measures"] = write_measures(folder / "measures.json", result)
        self._results["notes"] = [*notes, *result.notes]


def write_measures(path: Path, result: segmentation.SegmentationResult) -> str:
    """Write what is measured of the structures."""
    names = ("volumes", "centroids", "uncertainty")
    path.write_text(json.dumps({name: getattr(result, name) for name in names}))
    return str(path)


def read_measures(path: str | Path) -> tuple[dict[int, float], dict[int, tuple[float, float, float]]]:
    """Volumes and centroids by FreeSurfer id."""
    content = json.loads(Path(path).read_text())
    volumes = {int(index): float(volume) for index, volume in content["volumes"].items()}
    return volumes, {int(index): tuple(point) for index, point in content["centroids"].items()}


def read_uncertainty(path: str | Path) -> dict[int, float]:
    """Uncertainty by FreeSurfer id, as :class:`brainseg.models.segmentation.segmentation.SegmentationResult`
    has it."""
    content = json.loads(Path(path).read_text())
    return {int(index): float(value) for index, value in content.get("uncertainty", {}).items()}
