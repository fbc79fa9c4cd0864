"""Node of the intracranial volume, and its derivatives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, Str, TraitedSpec, isdefined, traits

from ..models.intracranial import intracranial
from ..models.io import outputs
from ..models.localization import place
from ..models.pipeline.networks import record_of
from .base import NetworkInputSpec, Stage, load, on_device, save
from .io import derivatives, files
from .io.derivatives import Names

COLUMNS: dict[str, dict[str, Any]] = {
    "intracranial_mm3": {
        "Description": "Intracranial volume (label-intracranial_mask), the same in every row; n/a without a "
        "skull in the image, without a network for the population, or where the field of view does not cover "
        "the head",
        "Units": "mm^3",
    },
    "fraction_of_intracranial": {"Description": "volume_mm3 divided by intracranial_mm3"},
}
"""Columns that the table of volumes gets."""


@dataclass(frozen=True)
class Measured:
    """The intracranial volume of a participant-session.

    Attributes
    ----------
    volume : float or None
        Volume (mm3); None if it is not available.
    reason : str
        Why it is not available; empty if it is.
    outside : float or None
        Share of the brain mask more than 2 mm outside the cavity.
    """

    volume: float | None = None
    reason: str = ""
    outside: float | None = None


UNMEASURED = Measured(reason=intracranial.UNKNOWN)
"""What is known where the population has no network."""


class _MeasureInputSpec(NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc="conformed image, with its skull")
    in_mask = File(exists=True, mandatory=True, desc="brain mask, on the image's grid")
    in_place = File(exists=True, desc="where the brain was found in the image; found again by default")
    stripped = traits.Bool(False, usedefault=True, desc="whether the image has no skull")
    population = Str("adult", usedefault=True, desc="population of the brain")
    networks = traits.Dict(Str, Str, usedefault=True, desc="networks of the user by step")


class _MeasureOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="1 inside the skull, uint8; undefined if it is not available")
    out_measures = File(exists=True, desc="JSON: volume (mm3), or the reason why there is none")
    notes = traits.List(Str, desc="notes for the report")


class MeasureIntracranial(Stage):
    """Measure the intracranial volume of a head."""

    input_spec = _MeasureInputSpec
    output_spec = _MeasureOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        record = record_of(inputs.population, inputs.networks)
        known, stripped = place.read(inputs.in_place) if isdefined(inputs.in_place) else None, inputs.stripped
        scan = load(inputs.in_file)
        find = partial(intracranial.measure, scan, record, stripped=bool(stripped), place=known)
        result, notes = on_device(lambda device: find(device=device), inputs.device)
        measured = Measured(result.volume, result.reason)
        if result.mask is not None and result.distance is not None:
            self._results["out_mask"] = save(result.mask, folder / "intracranial.nii")
            brain = load(inputs.in_mask)
            outside = intracranial.brain_outside(brain, result.distance)
            measured = Measured(result.volume, result.reason, outside)
            notes += intracranial.too_small(brain, result.volume or 0.0)
        self._results["out_measures"] = write(folder / "intracranial.json", measured)
        self._results["notes"] = [*notes, *result.notes]


def write(path: Path, measured: Measured) -> str:
    """Write what was measured as JSON, and return the path."""
    path.write_text(json.dumps(vars(measured)))
    return str(path)


def read(path: str | Path) -> Measured:
    """Read what :func:`write` wrote."""
    return Measured(**json.loads(Path(path).read_text()))


def with_columns(rows: list[tuple[Any, ...]], measured: Measured) -> list[tuple[Any, ...]]:
    """Return the rows of the table of volumes with :data:`COLUMNS`.

    Parameters
    ----------
    rows : list of tuple
        Rows of :func:`brainseg.interfaces.io.derivatives.volume_rows`.
    measured : Measured
        The intracranial volume.
    """
    place = list(derivatives.VOLUME_COLUMNS).index("volume_mm3")
    whole = measured.volume
    if not whole:
        return [(*row, "n/a", "n/a") for row in rows]
    return [(*row, f"{whole:.2f}", f"{float(row[place]) / whole:.6f}") for row in rows]


def about(measured: Measured) -> dict[str, Any]:
    """Return what the sidecar of the table of volumes says of the intracranial volume."""
    found: dict[str, Any] = {"Value": None, "Reason": measured.reason}
    if measured.volume is not None:
        found = {"Value": round(measured.volume, 2), "Units": "mm^3"}
    return {"IntracranialVolume": found}


def sidecars(names: Names) -> dict[str, dict[str, Any]]:
    """Return the sidecar of the mask by its ending."""
    content = {
        **derivatives.described("intracranial_mask"),
        "Type": "ROI",
        "Sources": names.raws,
        "RawSources": [uri.removeprefix("bids:raw:") for uri in names.raws],
        "SpatialReference": names.reference,
    }
    return {outputs.ending("intracranial_mask"): content}


def jobs(names: Names, mask: str, affine: np.ndarray, code: int) -> list[Callable[[], Path]]:
    """Return functions that write the mask.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    mask : str
        The mask, on the image's grid.
    affine, code : ndarray, int
        Geometry of the derivatives.
    """
    path = names.path(outputs.ending("intracranial_mask"))
    return [partial(_write_mask, path, mask, affine, code)]


def _write_mask(path: Path, mask: str, affine: np.ndarray, code: int) -> Path:
    return files.write_image(path, load(mask).data.numpy().astype(np.uint8), affine, code)
