"""Conform: a scan of the dataset becomes a checked one, on its own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models import conform
from .base import Stage, StageInputSpec, save

TOLERANCE = 0.5
"""Disagreement (mm) of qform and sform, at the corners, that is worth a note."""


class _ConformOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the scan, float32, uncompressed")
    notes = traits.List(Str, desc="what a reader of the results should know")


class Conform(Stage):
    """Read a scan, refuse what cannot be one, and write it as the other stages read it."""

    input_spec = StageInputSpec
    output_spec = _ConformOutputSpec

    def _stage(self, folder: Path) -> None:
        source = self.inputs.source_file
        self._results["out_file"] = save(conform.read(source), folder / "conformed.nii")
        self._results["notes"] = notes_on(nib.load(source))


def notes_on(image: nib.spatialimages.SpatialImage) -> list[str]:
    """What is odd in a header that can be used all the same."""
    header = image.header
    if "sform_code" not in header or not (int(header["sform_code"]) and int(header["qform_code"])):
        return []
    try:
        qform = header.get_qform()
    except (ValueError, np.linalg.LinAlgError):
        return ["The header's qform cannot be read; the sform was used."]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[:3]])).reshape(3, -1)
    apart = (header.get_sform() - qform)[:3] @ np.vstack([ends, np.ones(8)])
    worst = float(np.linalg.norm(apart, axis=0).max())
    if worst < TOLERANCE:
        return []
    return [f"The header's qform and sform disagree by up to {worst:.1f} mm; the sform was used."]
