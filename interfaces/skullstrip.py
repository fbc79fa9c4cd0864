"""Skull-stripping as a node."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, isdefined, traits

from ..models.errors import InputError
from ..models.geometry.volume import Volume
from ..models.localization import place
from ..models.pipeline.networks import record_of
from ..models.preprocessing import mp2rage
from ..models.segmentation import skullstrip
from .base import NetworkInputSpec, Stage, load, on_device, save


class _SkullStripInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="conformed scan")
    mode = traits.Enum(
        "auto", "skip", "force", usedefault=True, desc="scans without skull: detect, assume, rule out"
    )
    population = Str("adult", usedefault=True, desc="population of the brain")
    networks = traits.Dict(Str, Str, usedefault=True, desc="networks of the user by step")
    plausible_ml = traits.Tuple(traits.Float, traits.Float, desc="plausible volumes (mL) of the brain mask")


class _SkullStripOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="1 in the brain, uint8")
    out_region = File(exists=True, desc="mask and fluid around it, uint8; undefined if that is the mask")
    out_place = File(exists=True, desc="where the brain was found, for later stages; undefined in other ways")
    stripped = traits.Bool(desc="whether the scan came without a skull")
    misfit = Str(desc="why the orientation in the header does not fit the head; else empty")
    mask_source = Str(desc="network that made the mask, or 'extent'")
    notes = traits.List(Str, desc="notes on the results")


class SkullStrip(Stage):
    """Extract the brain of a scan."""

    input_spec = _SkullStripInputSpec
    output_spec = _SkullStripOutputSpec

    def _stage(self, folder: Path) -> None:
        volume = load(self.inputs.in_file)
        find = partial(
            skullstrip.skullstrip,
            volume,
            record_of(self.inputs.population, self.inputs.networks),
            mode=self.inputs.mode,
        )
        try:
            result, notes = on_device(lambda device: find(device=device), self.inputs.device)
        except InputError as error:
            raise _of_uni(error, self.inputs.source_file) from None
        notes += result.notes
        if result.stripped and self.inputs.mode == "skip":
            notes.append("The image was taken as skull-stripped, as requested; its extent is the brain mask.")
        elif result.stripped:
            notes.append("The image came without a skull: the brain mask is within its extent.")
        if isdefined(self.inputs.plausible_ml):
            notes += notes_on(result.mask, *self.inputs.plausible_ml)
        self._results["out_mask"] = save(result.mask, folder / "mask.nii")
        if result.region is not None:
            self._results["out_region"] = save(result.region, folder / "region.nii")
        if result.place is not None:
            self._results["out_place"] = place.write(folder / "place.npz", result.place)
        self._results["stripped"] = bool(result.stripped)
        self._results["misfit"] = result.misfit
        self._results["mask_source"] = result.source
        self._results["notes"] = notes


def _of_uni(error: InputError, source: object) -> InputError:
    """Return the error for an MP2RAGE UNI image with what helps there; other images' errors are unchanged."""
    name = Path(str(source)).name.split(".")[0]
    if error.path or not name.endswith("_UNIT1"):
        return error
    return InputError(None, error.reason, f"Check the image and its header. {mp2rage.REMEDY}")


def notes_on(mask: Volume, least: float, most: float) -> list[str]:
    """Return notes on the volume of a brain mask.

    Parameters
    ----------
    mask : Volume
        1 in the brain.
    least, most : float
        Range of plausible volumes (mL).

    Examples
    --------
    >>> import numpy as np, torch
    >>> notes_on(Volume(torch.ones(50, 50, 50), np.diag([2.0, 2.0, 2.0, 1.0])), 600, 2200)
    []
    >>> notes_on(Volume(torch.ones(50, 50, 50), np.eye(4)), 600, 2200)
    ['The brain mask has 125 mL, not 600 to 2200 mL as expected: check the mask.']
    """
    found = float((mask.data > 0).sum()) * mask.grid.voxel_volume / 1000
    if least <= found <= most:
        return []
    return [f"The brain mask has {found:.0f} mL, not {least:g} to {most:g} mL as expected: check the mask."]
