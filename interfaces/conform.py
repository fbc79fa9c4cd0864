"""Node of the conform stage: read and check an image of the dataset, or average several."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.geometry.volume import Volume
from ..models.localization import upright
from ..models.preprocessing import scan
from ..models.registration import coregistration
from .base import Stage, StageInputSpec, save


class _ConformInputSpec(StageInputSpec):
    averaged = traits.List(
        Str, desc="images whose average is the reference image; empty to use the image itself"
    )
    sloppy = traits.Bool(False, usedefault=True, desc="whether to align them coarsely")
    reorient = Str("", usedefault=True, desc="correct the orientation: auto, or the true axis codes")
    model = Str("", usedefault=True, desc="network that checks the orientation; empty for any direction")


class _ConformOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="conformed image, float32")
    out_runs = File(exists=True, desc="JSON: matrices from mm of the averaged images to mm of the average")
    reoriented = Str(desc="axis codes of the header and the corrected ones, such as RAS>LIA; else empty")
    caution = Str(desc="why the corrected orientation needs a check; else empty")
    notes = traits.List(Str, desc="notes for the report")


class Conform(Stage):
    """Read and check an image, or average several."""

    input_spec = _ConformInputSpec
    output_spec = _ConformOutputSpec

    def _stage(self, folder: Path) -> None:
        self._results |= {"reoriented": "", "caution": "", "notes": []}
        if self.inputs.averaged:
            self._average(self.inputs.averaged, folder)
            return
        source = self.inputs.source_file
        volume, notes = self._read(source)
        self._results["out_file"] = save(volume, folder / "conformed.nii")
        self._results["notes"] = notes

    def _read(self, source: str) -> tuple[Volume, list[str]]:
        """Return an image, in the corrected orientation if that is asked for, and notes."""
        notes: list[str] = []
        volume = scan.read(source, notes=notes)
        if not self.inputs.reorient:
            return volume, notes
        volume, change = upright.correct(volume, self.inputs.reorient, model=self.inputs.model)
        if change is not None:
            self._results["reoriented"] = f"{change.before}>{change.after}"
            self._results["caution"] = change.caution
            notes.append(change.note)
        return volume, notes

    def _average(self, sources: list[str], folder: Path) -> None:
        levels = coregistration.LEVELS[: 1 if self.inputs.sloppy else None]
        read = [self._read(path) for path in sources]
        mean, matrices = coregistration.average([volume for volume, _ in read], levels=levels)
        self._results["out_file"] = save(mean, folder / "average.nii")
        runs = folder / "runs.json"
        runs.write_text(json.dumps([matrix.tolist() for matrix in matrices]))
        self._results["out_runs"] = str(runs)
        self._results["notes"] = [
            f"The reference is the average of {len(sources)} images, halfway between them.",
            *(
                f"{Path(path).name}: {note}"
                for path, (_, notes) in zip(sources, read, strict=True)
                for note in notes
            ),
        ]
