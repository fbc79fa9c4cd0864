"""Segmentation as a node."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, isdefined, traits

from ..models.pipeline.networks import record_of
from ..models.population import labels, populations
from ..models.segmentation import segmentation
from ..models.segmentation.result import SegmentationResult
from .base import NetworkInputSpec, Stage, load, on_device, save


class _SegmentInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="bias-corrected scan")
    in_mask = File(exists=True, mandatory=True, desc="brain mask, on the scan's grid")
    in_region = File(exists=True, desc="mask and fluid around it, for the fit of the intensities")
    population = Str("adult", usedefault=True, desc="population of the brain")
    networks = traits.Dict(Str, Str, usedefault=True, desc="networks of the user by step")
    label_table = Str("", usedefault=True, desc="a coarser label table than the network's")
    effort = traits.Enum("fast", "accurate", usedefault=True, desc="accurate averages with the mirror image")


class _SegmentOutputSpec(TraitedSpec):
    out_structures = File(exists=True, desc="FreeSurfer ids, int16")
    out_tissue = File(exists=True, desc="position in models.population.labels.TISSUES, uint8")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    out_measures = File(exists=True, desc="JSON: volumes (mm3), centroids (mm), uncertainty by FreeSurfer id")
    notes = traits.List(Str, desc="notes on the results")


class Segment(Stage):
    """Segment a brain into structures and tissues."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _stage(self, folder: Path) -> None:
        scan, mask = load(self.inputs.in_file), load(self.inputs.in_mask)
        effort, refused = self.inputs.effort, None
        if effort != "fast":
            # In a dataset of several populations, an option may be available for some of them only.
            refused = populations.refusal(populations.load(self.inputs.population), "effort")
        find = partial(
            segmentation.segment,
            scan,
            mask,
            record_of(self.inputs.population, self.inputs.networks),
            effort="fast" if refused else effort,
            label_table=self.inputs.label_table or None,
            region=load(self.inputs.in_region) if isdefined(self.inputs.in_region) else None,
        )
        result, notes = on_device(lambda device: find(device=device), self.inputs.device)
        self._results["out_structures"] = save(result.structures, folder / "structures.nii")
        self._results["out_tissue"] = save(result.tissue, folder / "tissue.nii")
        self._results["out_probabilities"] = [
            save(result.probabilities[name], folder / f"{name}.nii") for name in labels.DSEG_NAMES
        ]
        self._results["out_measures"] = write_measures(folder / "measures.json", result)
        notes += [f"{refused.reason}."] if refused else []
        self._results["notes"] = [*notes, *result.notes]


def write_measures(path: Path, result: SegmentationResult) -> str:
    """Write volumes with their intervals, centroids and uncertainty of the structures.

    Parameters
    ----------
    path : Path
        JSON file.
    result : SegmentationResult
        The segmentation.

    Returns
    -------
    str
        The path.
    """
    names = ("volumes", "centroids", "uncertainty", "intervals")
    path.write_text(json.dumps({name: getattr(result, name) for name in names}))
    return str(path)


def read_measures(path: str | Path) -> tuple[dict[int, float], dict[int, tuple[float, float, float]]]:
    """Read volumes and centroids of the structures.

    Parameters
    ----------
    path : str or Path
        JSON file of :func:`write_measures`.

    Returns
    -------
    volumes : dict of int to float
        Volumes (mm3) by FreeSurfer id.
    centroids : dict of int to tuple of float
        Centroids (RAS mm) by FreeSurfer id.
    """
    content = json.loads(Path(path).read_text())
    volumes = {int(index): float(volume) for index, volume in content["volumes"].items()}
    return volumes, {int(index): tuple(point) for index, point in content["centroids"].items()}


def read_intervals(path: str | Path) -> dict[int, tuple[float, float]]:
    """Read the intervals of the structures' volumes.

    Parameters
    ----------
    path : str or Path
        JSON file of :func:`write_measures`.

    Returns
    -------
    dict of int to tuple of float
        Lower and upper end (mm3) by FreeSurfer id; empty for precomputed segmentations.
    """
    content = json.loads(Path(path).read_text())
    return {
        int(index): (float(low), float(high)) for index, (low, high) in content.get("intervals", {}).items()
    }


def read_uncertainty(path: str | Path) -> dict[int, float]:
    """Read the uncertainty of the structures.

    Parameters
    ----------
    path : str or Path
        JSON file of :func:`write_measures`.

    Returns
    -------
    dict of int to float
        Uncertainty by FreeSurfer id, as in
        :class:`brainseg.models.segmentation.result.SegmentationResult`.
    """
    content = json.loads(Path(path).read_text())
    return {int(index): float(value) for index, value in content.get("uncertainty", {}).items()}
