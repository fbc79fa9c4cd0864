"""Node that writes the brain mask as the only result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, traits

from ...models.io import outputs
from ...models.io.images import open_image
from ..base import Sink, StageInputSpec, load
from . import derivatives, files
from .derivatives import Names


class _WriteMaskInputSpec(StageInputSpec):
    bids_root = Str(mandatory=True, desc="root of the dataset")
    out_dir = Str(mandatory=True, desc="root of the derivatives")
    key = Str(mandatory=True, desc="participant-session, such as sub-01_ses-02")
    in_mask = File(exists=True, mandatory=True, desc="brain mask")
    stripped = traits.Bool(False, usedefault=True, desc="whether the image has no skull")
    mask_source = Str("", usedefault=True, desc="network that made the mask, extent or precomputed")
    notes = traits.List(Str, desc="notes for the report")


class _WriteMaskOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="files written")
    notes = traits.List(Str, desc="notes without repetition")
    stripped = traits.Bool(desc="whether the image has no skull")


class WriteMask(Sink):
    """Write the brain mask of one participant-session."""

    input_spec = _WriteMaskInputSpec
    output_spec = _WriteMaskOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        names = Names(Path(inputs.out_dir), Path(inputs.bids_root), Path(inputs.source_file), inputs.key)
        notes = list(dict.fromkeys(inputs.notes or []))
        source = open_image(inputs.source_file)
        files.sweep(names.folder, names.prefix)
        found = load(inputs.in_mask)
        mask = (found.data.numpy() > 0).astype(np.uint8)
        path = names.path(outputs.ending("mask"))
        affine = files.own_affine(source, found.affine)
        files.write_image(path, mask, affine, files.geometry_code(source))
        about = {
            **derivatives.described("mask"),
            "Type": "Brain",
            "Sources": [names.raw],
            "RawSources": [names.raw_path],
            "SpatialReference": names.raw,
            **derivatives.mask_source(inputs.mask_source),
            "SkullStripped": bool(inputs.stripped),
            "Notes": notes,
        }
        sidecar = files.write_json(path.with_name(outputs.sidecar(path.name)), about)
        self._results["out_files"] = sorted([str(path), str(sidecar)])
        self._results["notes"] = notes
        self._results["stripped"] = bool(inputs.stripped)
