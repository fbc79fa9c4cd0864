"""The brain mask alone as a result, for scans that are too coarse for more."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, traits

from ..models.io import outputs
from .base import Stage, StageInputSpec, load
from .io import derivatives, files
from .io.derivatives import Names


class _WriteMaskInputSpec(StageInputSpec):
    bids_root = Str(mandatory=True, desc="the dataset")
    out_dir = Str(mandatory=True, desc="the derivatives' root")
    key = Str(mandatory=True, desc="the unit, such as sub-01_ses-02")
    in_mask = File(exists=True, mandatory=True, desc="the brain")
    stripped = traits.Bool(False, usedefault=True, desc="whether the scan came without a skull")
    notes = traits.List(Str, desc="what a reader of the result should know")


class _WriteMaskOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="everything that was written")
    notes = traits.List(Str, desc="the notes, each once")
    stripped = traits.Bool(desc="whether the scan came without a skull")


class WriteMask(Stage):
    """Write the brain mask of one unit, and why there is no more."""

    input_spec = _WriteMaskInputSpec
    output_spec = _WriteMaskOutputSpec
    _always_run = True  # what it writes lies outside the work folder, where Nipype does not look

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        names = Names(Path(given.out_dir), Path(given.bids_root), Path(given.source_file), given.key)
        notes = list(dict.fromkeys(given.notes or []))
        source = nib.load(given.source_file)
        files.sweep(names.folder, names.prefix)
        mask = (load(given.in_mask).data.numpy() > 0).astype(np.uint8)
        path = names.path(outputs.ending("mask"))
        files.write_image(path, mask, np.asarray(source.affine), files.geometry_code(source))
        about = {
            **derivatives.described("mask"),
            "Type": "Brain",
            "Sources": [names.raw],
            "RawSources": [names.raw_path],
            "SpatialReference": names.raw,
            "SkullStripped": bool(given.stripped),
            "Notes": notes,
        }
        sidecar = files.write_json(path.with_name(path.name.split(".")[0] + ".json"), about)
        self._results["out_files"] = sorted([str(path), str(sidecar)])
        self._results["notes"] = notes
        self._results["stripped"] = bool(given.stripped)
