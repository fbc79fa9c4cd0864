"""Lesions as a node, and as derivatives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, Str, TraitedSpec, traits

from ..models.io import outputs
from ..models.networks import zoo
from ..models.segmentation import lesion
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives, files
from .io.derivatives import Names

COLUMNS = {
    "lesion": {"Description": "Number of the lesion, the largest first"},
    "volume_mm3": {"Description": "Volume of its voxels", "Units": "mm^3"},
    "x": {"Description": "Its centre, to the right", "Units": "mm"},
    "y": {"Description": "Its centre, to the front", "Units": "mm"},
    "z": {"Description": "Its centre, upwards", "Units": "mm"},
    "probability": {"Description": "Mean of the lesion's probability over its voxels"},
}
"""Columns of the table of lesions."""


class _FindLesionsInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the bias-corrected image that shows lesions")
    in_mask = File(exists=True, mandatory=True, desc="the brain, on the same grid")
    model = Str("lesion", usedefault=True, desc="weights; empty: the population has none")
    image = Str(mandatory=True, desc="the image as the dataset holds it")


class _FindLesionsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="1 in lesions; none for other contrasts")
    out_probability = File(exists=True, desc="probability of a lesion")
    out_lesions = File(exists=True, desc="JSON: volume, centre and probability of each, and the contrast")
    notes = traits.List(Str, desc="what a reader of the results should know")


class FindLesions(Stage):
    """Find lesions that are bright in FLAIR or T2w images."""

    input_spec = _FindLesionsInputSpec
    output_spec = _FindLesionsOutputSpec

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        contrast = given.image.split(".")[0].rpartition("_")[2]
        why_not = skipped(contrast, given.model)
        if why_not:
            self._results["notes"] = [why_not]
            return
        image, mask = load(given.in_file), load(given.in_mask)
        find = partial(lesion.find, image, mask, model=given.model)
        result, notes = on_device(lambda device: find(device=device), given.device)
        self._results["out_file"] = save(result.mask, folder / "lesions.nii")
        self._results["out_probability"] = save(result.probability, folder / "probability.nii")
        path = folder / "lesions.json"
        about = {
            "contrast": contrast,
            "image": given.image,
            "licence": zoo.read_card(given.model).get("licence", ""),
            "lesions": [asdict(one) for one in result.lesions],
        }
        path.write_text(json.dumps(about))
        self._results["out_lesions"] = str(path)
        count, volume = len(result.lesions), sum(one.volume for one in result.lesions) / 1000
        found = f"{count} lesion{'s' * (count != 1)} of {volume:.1f} mL in all" if count else "No lesion"
        self._results["notes"] = [
            f"Lesions: {found} in the {contrast} image. This is for research; look at the picture.",
            *cautions(contrast),
            *notes,
            *result.notes,
        ]


def skipped(contrast: str, model: str) -> str:
    """Why lesions are not looked for; empty if they are.

    Examples
    --------
    >>> skipped("FLAIR", "lesion")
    ''
    """
    if not model:
        return "The step lesion was left out: there is no network for brains of this population."
    if contrast not in lesion.CONTRASTS:
        known = " and ".join(lesion.CONTRASTS)
        return f"The step lesion was left out: lesions are looked for in {known} images, and there is none."
    return ""


def cautions(contrast: str) -> list[str]:
    """What is to be said of lesions in a contrast.

    Examples
    --------
    >>> len(cautions("FLAIR")), len(cautions("T2w"))
    (0, 1)
    """
    if contrast == "FLAIR":
        return []
    return [
        f"Lesions in a {contrast} image are not to be relied on: fluid is as bright as they are there. "
        "Give a FLAIR image if there is one."
    ]


def shown_in(contrasts: list[str]) -> int | None:
    """Which of several images shows lesions best; None if none does.

    Examples
    --------
    >>> shown_in(["T1w", "T2w", "FLAIR"]), shown_in(["T1w"])
    (2, None)
    """
    there = [contrasts.index(name) for name in lesion.CONTRASTS if name in contrasts]
    return there[0] if there else None


def jobs(
    names: Names,
    mask: str,
    probability: str,
    table: str,
    affine: np.ndarray,
    code: int,
    leave_out: tuple[str, ...] = (),
) -> list[Callable[[], Path]]:
    """Return functions that write mask, probability and table; ``leave_out`` names steps that are off."""
    found = json.loads(Path(table).read_text())["lesions"]
    rows = [
        (k, f"{one['volume']:.2f}", *(f"{c:.1f}" for c in one["centre"]), f"{one['probability']:.4f}")
        for k, one in enumerate(found, 1)
    ]
    images = {
        outputs.ending("lesion_mask"): load(mask).data.numpy().astype(np.uint8),
        outputs.ending("lesion_probability"): derivatives.as_probability(load(probability).data.numpy()),
    }
    out: list[Callable[[], Path]] = [
        partial(files.write_image, names.path(stored), data, affine, code)
        for ending, data in images.items()
        for stored in names.stored(ending, leave_out)
    ]
    out.append(partial(files.write_table, names.path(outputs.ending("lesion_volumes")), tuple(COLUMNS), rows))
    return out


def sidecars(names: Names, table: str, segmented: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Sidecars of what :func:`jobs` writes; ``segmented`` is that of the structures."""
    found = json.loads(Path(table).read_text())
    source = Path(found["image"])
    seen = names if source == names.source_file else Names(names.out_dir, names.bids_root, source, names.key)
    about = {
        **segmented,
        "Sources": [seen.uri(seen.preproc), names.uri(names.native(outputs.ending("mask"))[0])],
        "Contrast": found["contrast"],
        "NetworkLicence": found["licence"],
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
