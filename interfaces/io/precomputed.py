"""Nodes of precomputed inputs; each replaces the stage that computes them."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, Str, TraitedSpec, traits

from ...models.errors import InputError
from ...models.geometry.volume import Volume
from ...models.io import conform, itk
from ...models.localization import upright
from ...models.population import labels
from ...models.registration import reference
from ...models.segmentation import precomputed, skullstrip
from ...models.segmentation.result import PRECOMPUTED
from ..base import Stage, StageInputSpec, about, load, save
from ..segmentation import read_measures, write_measures
from ..skullstrip import notes_on

APART = 1.0
"""Median error (mm) of forward and inverse transform together above which a note is added."""


class _PrecomputedMaskInputSpec(StageInputSpec):
    in_file = File(exists=True, mandatory=True, desc="conformed image")
    in_precomputed = Str(mandatory=True, desc="precomputed brain mask")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="whether to expect a skull")
    population = Str("adult", usedefault=True, desc="population of the brain")
    plausible_ml = traits.Tuple(traits.Float, traits.Float, desc="plausible brain volumes (mL)")
    region = traits.Bool(True, usedefault=True, desc="whether the fluid around the mask is needed")


class _PrecomputedMaskOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="brain mask, uint8")
    out_region = File(exists=True, desc="mask and fluid around it, uint8; undefined if that is the mask")
    out_place = File(desc="undefined: nothing was searched for")
    stripped = traits.Bool(desc="whether the image was skull-stripped")
    misfit = Str(desc="why the orientation in the header does not fit the head; else empty")
    mask_source = Str(desc="always 'precomputed'")
    notes = traits.List(Str, desc="notes on the results")


class PrecomputedMask(Stage):
    """Resample a precomputed brain mask on the grid of the image."""

    input_spec = _PrecomputedMaskInputSpec
    output_spec = _PrecomputedMaskOutputSpec

    def _stage(self, folder: Path) -> None:
        scan = load(self.inputs.in_file)
        with about(self.inputs.in_precomputed):
            mask = precomputed.mask(read(self.inputs.in_precomputed), scan.grid)
        notes = [f"The brain mask is precomputed: {Path(self.inputs.in_precomputed).name}."]
        if isinstance(self.inputs.plausible_ml, tuple):
            notes += notes_on(mask, *self.inputs.plausible_ml)
        turn = skullstrip.orientation(scan, self.inputs.population)
        if turn is not None:
            notes.append(f"{turn.words}. {upright.REMEDY}.")
        self._results["out_mask"] = save(mask, folder / "mask.nii")
        self._results["stripped"] = bool(precomputed.stripped(scan, mask, self.inputs.mode))
        region = None
        if self.inputs.region and not self._results["stripped"]:
            region = skullstrip.around(scan, mask, self.inputs.population, notes)
        if region is not None:
            self._results["out_region"] = save(region, folder / "region.nii")
        self._results["misfit"] = turn.words if turn is not None else ""
        self._results["mask_source"] = PRECOMPUTED
        self._results["notes"] = notes


class _PrecomputedSegmentationInputSpec(StageInputSpec):
    in_file = File(exists=True, desc="bias-corrected image; not used")
    in_mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the image")
    in_structures = Str(mandatory=True, desc="precomputed structures by FreeSurfer id")
    in_probabilities = traits.List(Str, desc="precomputed probabilities of GM, WM and CSF; may be empty")
    label_table = Str("adult", usedefault=True, desc="label table of the structures")


class _PrecomputedSegmentationOutputSpec(TraitedSpec):
    out_structures = File(exists=True, desc="structures by FreeSurfer id, int16")
    out_tissue = File(exists=True, desc="position in labels.TISSUES, uint8")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    out_measures = File(exists=True, desc="JSON: volumes (mm3) and centroids (mm) by FreeSurfer id")
    notes = traits.List(Str, desc="notes on the results")


class PrecomputedSegmentation(Stage):
    """Resample a precomputed segmentation on the grid of the image."""

    input_spec = _PrecomputedSegmentationInputSpec
    output_spec = _PrecomputedSegmentationOutputSpec

    def _stage(self, folder: Path) -> None:
        source = self.inputs.in_structures
        paths = self.inputs.in_probabilities or []
        shares = dict(zip(labels.DSEG_NAMES, map(read, paths), strict=True)) if paths else None
        with about(source):
            result = precomputed.segmentation(
                read(source), load(self.inputs.in_mask), shares, self.inputs.label_table
            )
        self._results["out_structures"] = save(result.structures, folder / "structures.nii")
        self._results["out_tissue"] = save(result.tissue, folder / "tissue.nii")
        self._results["out_probabilities"] = [
            save(result.probabilities[name], folder / f"{name}.nii") for name in labels.DSEG_NAMES
        ]
        self._results["out_measures"] = write_measures(folder / "measures.json", result)
        self._results["notes"] = [f"The segmentation is precomputed: {Path(source).name}.", *result.notes]


class _PrecomputedTissuesInputSpec(StageInputSpec):
    in_mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the image")
    in_dseg = Str(mandatory=True, desc="precomputed tissues: 1 gray matter, 2 white matter, 3 CSF")
    in_probabilities = InputMultiObject(
        Str, mandatory=True, desc="precomputed probabilities of GM, WM and CSF"
    )


class _PrecomputedTissuesOutputSpec(TraitedSpec):
    out_dseg = File(exists=True, desc="1 gray matter, 2 white matter, 3 CSF, int16")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    notes = traits.List(Str, desc="notes on the results")


class PrecomputedTissues(Stage):
    """Resample a precomputed tissue segmentation on the grid of the image."""

    input_spec = _PrecomputedTissuesInputSpec
    output_spec = _PrecomputedTissuesOutputSpec

    def _stage(self, folder: Path) -> None:
        grid, source = load(self.inputs.in_mask).grid, self.inputs.in_dseg
        dseg, shares = precomputed.tissues(read(source), list(map(read, self.inputs.in_probabilities)), grid)
        self._results["out_dseg"] = save(dseg, folder / "dseg.nii")
        self._results["out_probabilities"] = [
            save(share, folder / f"{name}.nii") for name, share in zip(labels.DSEG_NAMES, shares, strict=True)
        ]
        self._results["notes"] = [
            f"The tissues are precomputed: {Path(source).name} and the probabilities.",
            precomputed.OF_STRUCTURES,
        ]


class _PrecomputedAlignmentInputSpec(StageInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON: centroids of the structures (mm)")
    template = Str(mandatory=True, desc="output space")
    in_forward = Str(mandatory=True, desc="transform of the image to the template (ITK HDF5)")
    in_inverse = Str(mandatory=True, desc="transform of the template to the image")
    uris = traits.List(Str, desc="BIDS URIs of both")


class _PrecomputedAlignmentOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="JSON: affine, its residual, files of the transforms")
    notes = traits.List(Str, desc="notes on the results")


class PrecomputedAlignment(Stage):
    """Take precomputed transforms between an image and a template."""

    input_spec = _PrecomputedAlignmentInputSpec
    output_spec = _PrecomputedAlignmentOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        forward, inverse = itk.read(inputs.in_forward), itk.read(inputs.in_inverse)
        _, centroids = read_measures(inputs.in_measures)
        matrix, error_mm, apart = precomputed.alignment(forward, inverse, centroids)
        content = {"matrix": matrix.tolist(), "error_mm": error_mm, "space": inputs.template}
        folds = forward.jacobian(reference.grid_of(inputs.template)).data <= 0
        content |= {"engine": "given", "folds": float(folds.float().mean()), "sources": list(inputs.uris)}
        content |= {"forward": inputs.in_forward, "inverse": inputs.in_inverse}
        path = folder / "transform.json"
        path.write_text(json.dumps(content))
        notes = [f"The transforms to {inputs.template} are precomputed: {Path(inputs.in_forward).name}."]
        if apart > APART:
            notes.append(
                f"The precomputed transforms to {inputs.template} disagree by {apart:.1f} mm (median)."
            )
        self._results["out_transform"] = str(path)
        self._results["notes"] = notes


def read(path: str) -> Volume:
    """Read a precomputed image.

    Parameters
    ----------
    path : str
        NIfTI file.

    Returns
    -------
    Volume
        The image.

    Raises
    ------
    InputError
        If it cannot be read; the message names the option ``--derivatives``.
    """
    try:
        return conform.read(path)
    except InputError as error:
        raise InputError(error.path or path, f"--derivatives: {error.reason}", error.remedy) from None
