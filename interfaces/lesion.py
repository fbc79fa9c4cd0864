"""Node of the lesion stage, and its derivatives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, InputMultiPath, Str, TraitedSpec, isdefined, traits

from ..models.io import outputs
from ..models.networks import zoo
from ..models.pipeline.lesion_image import cautions, skipped, trained_on
from ..models.segmentation import lesion
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives, files, rounding
from .io.derivatives import Names

COLUMNS = {
    "lesion": {"Description": "Number of the lesion, the largest first"},
    "volume_mm3": {"Description": "Volume of its voxels", "Units": "mm^3"},
    "x": {"Description": "Its center, to the right", "Units": "mm"},
    "y": {"Description": "Its center, to the front", "Units": "mm"},
    "z": {"Description": "Its center, upwards", "Units": "mm"},
    "probability": {"Description": "Mean of the lesion's probability over its voxels"},
}
"""Columns of the table of lesions."""


class _FindLesionsInputSpec(NetworkInputSpec):
    in_file = File(
        exists=True, mandatory=True, desc="image in which lesions are bright, not corrected for bias"
    )
    in_mask = File(exists=True, mandatory=True, desc="brain mask on the same grid")
    model = Str("lesion", usedefault=True, desc="weights of the network; empty if the population has none")
    image = Str(mandatory=True, desc="the same image in the dataset")
    force = traits.Bool(False, usedefault=True, desc="whether images with bright CSF are segmented, too")
    in_structures = File(
        exists=True, desc="structures, FreeSurfer ids, on the same grid; no lesion covers their CSF"
    )
    in_images = InputMultiPath(
        File(exists=True), desc="images for a network of several contrasts, as in_file, on the same grid"
    )
    contrasts = traits.List(Str, desc="BIDS suffixes of in_images")


class _FindLesionsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="lesion mask, uint8; undefined for other contrasts")
    out_probability = File(exists=True, desc="probability of a lesion")
    out_lesions = File(
        exists=True, desc="JSON: volume, center and probability of each lesion, and the contrast"
    )
    notes = traits.List(Str, desc="notes for the report")


class FindLesions(Stage):
    """Segment lesions that are bright in a FLAIR or T2w image."""

    input_spec = _FindLesionsInputSpec
    output_spec = _FindLesionsOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        contrast = inputs.image.split(".")[0].rpartition("_")[2]
        there = list(inputs.contrasts) if isdefined(inputs.contrasts) else []
        reason = skipped(contrast, inputs.model, force=inputs.force, others=there)
        if reason:
            self._results["notes"] = [reason]
            return
        image, *others = [load(path) for path in self._images()]
        mask = load(inputs.in_mask)
        structures = load(inputs.in_structures) if isdefined(inputs.in_structures) else None
        find = partial(lesion.find, image, mask, others=others, model=inputs.model, structures=structures)
        result, notes = on_device(lambda device: find(device=device), inputs.device)
        self._results["out_file"] = save(result.mask, folder / "lesions.nii")
        self._results["out_probability"] = save(result.probability, folder / "probability.nii")
        path = folder / "lesions.json"
        about = {
            "contrast": contrast,
            "image": inputs.image,
            "license": zoo.read_card(inputs.model).get("license", ""),
            "lesions": [asdict(one) for one in result.lesions],
        }
        path.write_text(json.dumps(about))
        self._results["out_lesions"] = str(path)
        count, volume = len(result.lesions), sum(one.volume for one in result.lesions) / 1000
        size = f"{volume:.1f}" if volume >= 1 else f"{volume:.2g}"
        found = f"{count} lesion{'s' * (count != 1)} of {size} mL in all" if count else "No lesion"
        self._results["notes"] = [
            f"Lesions: {found} in the {contrast} image. This is for research only; check the lesion mask.",
            *cautions(contrast, inputs.model),
            *notes,
            *result.notes,
        ]

    def _images(self) -> list[str]:
        """Return the files of the network's contrasts in its order; the image for a network of one."""
        wanted = trained_on(self.inputs.model)
        if len(wanted) < 2:
            return [self.inputs.in_file]
        files_of = dict(zip(self.inputs.contrasts, self.inputs.in_images, strict=True))
        return [files_of[name] for name in wanted]


def jobs(
    names: Names,
    mask: str,
    probability: str,
    table: str,
    affine: np.ndarray,
    code: int,
    leave_out: tuple[str, ...] = (),
) -> list[Callable[[], Path]]:
    """Return functions that write lesion mask, probability and table.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    mask, probability, table : str
        Files of :class:`FindLesions`.
    affine : ndarray, shape (4, 4)
        Voxel to mm.
    code : int
        Code of the affine in the NIfTI header.
    leave_out : tuple of str
        Steps that are off.

    Returns
    -------
    list of callable
        Each writes one file and returns its path.
    """
    found = json.loads(Path(table).read_text())["lesions"]
    rows = [
        (k, f"{one['volume']:.2f}", *(f"{c:.1f}" for c in one["center"]), f"{one['probability']:.4f}")
        for k, one in enumerate(found, 1)
    ]
    images = {
        outputs.ending("lesion_mask"): load(mask).data.numpy().astype(np.uint8),
        outputs.ending("lesion_probability"): rounding.as_probability(load(probability).data.numpy()),
    }
    out: list[Callable[[], Path]] = [
        partial(files.write_image, names.path(stored), data, affine, code)
        for ending, data in images.items()
        for stored in names.stored(ending, leave_out)
    ]
    out.append(partial(files.write_table, names.path(outputs.ending("lesion_volumes")), tuple(COLUMNS), rows))
    return out


def sidecars(names: Names, table: str, segmented: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sidecars of the files that :func:`jobs` writes.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    table : str
        JSON of the lesions.
    segmented : dict
        Sidecar of the segmentation into structures.

    Returns
    -------
    dict of str to dict
        Sidecars by the ending of the file that they describe.
    """
    found = json.loads(Path(table).read_text())
    source = Path(found["image"])
    own = names if source == names.source_file else Names(names.out_dir, names.bids_root, source, names.key)
    about = {
        **segmented,
        "Sources": [*own.raws, names.uri(names.native(outputs.ending("mask"))[0])],
        "Contrast": found["contrast"],
        "NetworkLicense": found["license"],
    }
    count, volume = len(found["lesions"]), sum(one["volume"] for one in found["lesions"])
    return {
        outputs.ending("lesion_mask"): {**about, **derivatives.described("lesion_mask"), "Type": "Lesion"},
        outputs.ending("lesion_probability"): about | derivatives.described("lesion_probability"),
        outputs.ending("lesion_volumes"): {
            **COLUMNS,
            "Count": count,
            "Volume": {"Value": round(volume, 2), "Units": "mm^3"},
            "Sources": [names.uri(outputs.ending("lesion_mask"))],
        },
    }
