"""Node of the bias correction."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import File, TraitedSpec, traits

from ..models.preprocessing import bias
from .base import Stage, StageInputSpec, load, save


class _CorrectBiasInputSpec(StageInputSpec):
    in_file = File(exists=True, mandatory=True, desc="conformed image")
    in_mask = File(exists=True, mandatory=True, desc="brain mask on the same grid")
    shrink = traits.Range(
        low=1, value=4, usedefault=True, desc="subsampling factor of the grid for the estimate"
    )


class _CorrectBiasOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="bias-corrected image, float32")


class CorrectBias(Stage):
    """Correct the intensity non-uniformity of an image."""

    input_spec = _CorrectBiasInputSpec
    output_spec = _CorrectBiasOutputSpec

    def _stage(self, folder: Path) -> None:
        scan, mask = load(self.inputs.in_file), load(self.inputs.in_mask)
        corrected, _ = bias.correct(scan, mask, shrink=self.inputs.shrink)
        self._results["out_file"] = save(corrected, folder / "corrected.nii")
