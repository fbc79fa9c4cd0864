"""Alignment to a template as a node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models import registration, templates
from .base import Stage, StageInputSpec
from .segmentation import read_measures

FAR_OFF = 8.0
"""Median residual (mm) from which the alignment deserves a look."""


class _RegisterInputSpec(StageInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' centroids")
    template = Str(templates.DEFAULT, usedefault=True, desc="name of the template")


class _RegisterOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="JSON: matrix from the scan's mm to the template's, error_mm")
    notes = traits.List(Str, desc="what a reader of the results should know")


class Register(Stage):
    """Align a scan to a template by the centroids of its structures."""

    input_spec = _RegisterInputSpec
    output_spec = _RegisterOutputSpec

    def _stage(self, folder: Path) -> None:
        _, centroids = read_measures(self.inputs.in_measures)
        result = registration.align(centroids, templates.load(self.inputs.template))
        path = folder / "transform.json"
        path.write_text(json.dumps({"matrix": result.matrix.tolist(), "error_mm": result.error_mm}))
        self._results["out_transform"] = str(path)
        self._results["notes"] = []
        if result.error_mm > FAR_OFF:
            self._results["notes"] = [
                f"After alignment the structures lie {result.error_mm:.1f} mm (median) from those of "
                f"{self.inputs.template}: look at the images in template space."
            ]


def read_transform(path: str | Path) -> tuple[np.ndarray, float]:
    """Matrix and residual (mm) of an alignment."""
    content = json.loads(Path(path).read_text())
    return np.array(content["matrix"], float), float(content["error_mm"])
