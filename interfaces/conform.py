"""Node of the conform stage: read and check an image of the dataset, or average several."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.io import conform
from ..models.io.images import open_image
from ..models.registration import coregistration
from .base import Stage, StageInputSpec, save

TOLERANCE = 0.5
"""Disagreement (mm) of qform and sform, at the corners, that is worth a note."""


class _ConformInputSpec(StageInputSpec):
    averaged = traits.List(
        Str, desc="images whose average is the reference image; empty to use the image itself"
    )
    sloppy = traits.Bool(False, usedefault=True, desc="whether to align them coarsely")


class _ConformOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="conformed image, float32")
    out_runs = File(exists=True, desc="JSON: matrices from mm of the averaged images to mm of the average")
    notes = traits.List(Str, desc="notes for the report")


class Conform(Stage):
    """Read and check an image, or average several."""

    input_spec = _ConformInputSpec
    output_spec = _ConformOutputSpec

    def _stage(self, folder: Path) -> None:
        if self.inputs.averaged:
            self._average(self.inputs.averaged, folder)
            return
        source = self.inputs.source_file
        self._results["out_file"] = save(conform.read(source), folder / "conformed.nii")
        self._results["notes"] = notes_on(open_image(source))

    def _average(self, sources: list[str], folder: Path) -> None:
        levels = coregistration.LEVELS[: 1 if self.inputs.sloppy else None]
        mean, matrices = coregistration.average([conform.read(path) for path in sources], levels=levels)
        self._results["out_file"] = save(mean, folder / "average.nii")
        runs = folder / "runs.json"
        runs.write_text(json.dumps([matrix.tolist() for matrix in matrices]))
        self._results["out_runs"] = str(runs)
        found = [(Path(path).name, note) for path in sources for note in notes_on(open_image(path))]
        self._results["notes"] = [
            f"The reference is the average of {len(sources)} images, halfway between them.",
            *(f"{name}: {note}" for name, note in found),
        ]


def notes_on(image: nib.spatialimages.SpatialImage) -> list[str]:
    """Return notes on a header whose qform is unreadable or contradicts the sform.

    Parameters
    ----------
    image : SpatialImage
        The image; its data are not read.

    Returns
    -------
    list of str
        At most one note. Headers other than NIfTI's have none.
    """
    header = image.header
    if not isinstance(header, nib.Nifti1Header) or not (
        int(header["sform_code"]) and int(header["qform_code"])
    ):
        return []
    try:
        qform = header.get_qform()
    except (ValueError, np.linalg.LinAlgError):
        qform = np.full((4, 4), np.nan)
    if not np.isfinite(qform).all():
        return ["The header's qform cannot be read; the sform was used."]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[:3]])).reshape(3, -1)
    apart = (header.get_sform() - qform)[:3] @ np.vstack([ends, np.ones(8)])
    worst = float(np.linalg.norm(apart, axis=0).max())
    if worst < TOLERANCE:
        return []
    return [f"The header's qform and sform disagree by up to {worst:.1f} mm; the sform was used."]
