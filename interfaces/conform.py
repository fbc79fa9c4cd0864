"""Node of the conform stage: read and check an image of the dataset, or average several."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.io import conform
from ..models.registration import coregistration
from .base import Stage, StageInputSpec, save


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
        notes: list[str] = []
        self._results["out_file"] = save(conform.read(source, notes=notes), folder / "conformed.nii")
        self._results["notes"] = notes

    def _average(self, sources: list[str], folder: Path) -> None:
        levels = coregistration.LEVELS[: 1 if self.inputs.sloppy else None]
        found: list[list[str]] = [[] for _ in sources]
        scans = [conform.read(path, notes=notes) for path, notes in zip(sources, found, strict=True)]
        mean, matrices = coregistration.average(scans, levels=levels)
        self._results["out_file"] = save(mean, folder / "average.nii")
        runs = folder / "runs.json"
        runs.write_text(json.dumps([matrix.tolist() for matrix in matrices]))
        self._results["out_runs"] = str(runs)
        self._results["notes"] = [
            f"The reference is the average of {len(sources)} images, halfway between them.",
            *(
                f"{Path(path).name}: {note}"
                for path, notes in zip(sources, found, strict=True)
                for note in notes
            ),
        ]
