"""Skull-stripping as a node."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, isdefined, traits

from ..models.geometry.volume import Volume
from ..models.segmentation import skullstrip
from .base import NetworkInputSpec, Stage, load, on_device, save


class _SkullStripInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the scan")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="what to do with a scan without skull")
    model = Str("skullstrip", usedefault=True, desc="weights that refine the surface")
    coarse_model = Str("head-coarse", usedefault=True, desc="weights that find the brain")
    plausible_ml = traits.Tuple(traits.Float, traits.Float, desc="volumes that a brain can have")


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
        find = partial(
            skullstrip.skullstrip,
            volume,
            mode=self.inputs.mode,
            model=self.inputs.model,
            coarse_model=self.inputs.coarse_model,
        )
        result, notes = on_device(lambda device: find(device=device), self.inputs.device)
        notes += result.notes
        if result.stripped and self.inputs.mode == "skip":
            notes.append(
                "The image was taken as skull-stripped, as asked for; its own extent is the brain mask."
            )
        elif result.stripped:
            notes.append("The image came without a skull: the brain mask lies within its own extent.")
        if isdefined(self.inputs.plausible_ml):
            notes += notes_on(result.mask, *self.inputs.plausible_ml)
        self._results["out_mask"] = save(result.mask, folder / "mask.nii")
        self._results["stripped"] = bool(result.stripped)
        self._results["notes"] = notes


def notes_on(mask: Volume, least: float, most: float) -> list[str]:
    """What is odd in a brain mask's volume, given what brains can have (mL).

    Examples
    --------
    >>> import numpy as np, torch
    >>> notes_on(Volume(torch.ones(50, 50, 50), np.diag([2.0, 2.0, 2.0, 1.0])), 600, 2200)
    []
    >>> notes_on(Volume(torch.ones(50, 50, 50), np.eye(4)), 600, 2200)
    ['The brain mask has 125 mL; brains have 600 to 2200 mL: look at the mask.']
    """
    found = float((mask.data > 0).sum()) * mask.grid.voxel_volume / 1000
    if least <= found <= most:
        return []
    return [f"The brain mask has {found:.0f} mL; brains have {least:g} to {most:g} mL: look at the mask."]
