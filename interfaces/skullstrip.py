"""Skull-stripping as a node."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models import skullstrip
from .base import NetworkInputSpec, Stage, load, on_device, save


class _SkullStripInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the scan")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="what to do with a scan without skull")


class _SkullStripOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="1 in the brain, uint8")
    stripped = traits.Bool(desc="whether the scan came without a skull")
    notes = traits.List(Str, desc="what a reader of the results should know")


class SkullStrip(Stage):
    """Find the brain in a scan."""

    input_spec = _SkullStripInputSpec
    output_spec = _SkullStripOutputSpec

    def _stage(self, folder: Path) -> None:
        volume = load(self.inputs.in_file)
        find = partial(skullstrip.skullstrip, volume, mode=self.inputs.mode)
        result, notes = on_device(lambda device: find(device=device), self.inputs.device)
        if result.stripped and self.inputs.mode == "skip":
            notes.append(
                "The image was taken as skull-stripped, as asked for; its own extent is the brain mask."
            )
        elif result.stripped:
            notes.append("The image came without a skull; its own extent is the brain mask.")
        self._results["out_mask"] = save(result.mask, folder / "mask.nii")
        self._results["stripped"] = bool(result.stripped)
        self._results["notes"] = notes
