"""Node of the quality control, and its derivatives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nipype.interfaces.base import File, InputMultiObject, Str, TraitedSpec, isdefined, traits

from ..models.geometry.volume import Grid, Volume, box
from ..models.io import outputs
from ..models.population import labels
from ..models.quality import iqm, quality, rating, surroundings
from ..models.templates import bundled, spaces
from . import intracranial
from .base import Stage, StageInputSpec, load
from .io import derivatives, files
from .io.derivatives import Names
from .registration import read_alignment
from .segmentation import read_uncertainty

COLUMNS: dict[str, dict[str, Any]] = {
    "index": {"Description": "FreeSurfer id of the structure, as in desc-aseg_dseg"},
    "name": {"Description": "Name of the structure"},
    "score": {"Description": "Expected Dice with a manual segmentation, from the signs of failure (0 to 1)"},
    "volume_mm3": {"Description": "Volume of the voxels with the label", "Units": "mm^3"},
    "pieces": {"Description": "Connected pieces (voxels joined by faces, edges or corners)"},
    "holes": {"Description": "Holes: enclosed background"},
    "euler": {"Description": "Euler number: pieces - tunnels + holes"},
    **{
        f"sign_{name}": {"Description": f"Sign of failure, 0 is none: {words}"}
        for name, words in quality.SIGNS.items()
    },
}


class _AssessInputSpec(StageInputSpec):
    in_conformed = File(exists=True, mandatory=True, desc="image before bias correction")
    in_file = File(exists=True, mandatory=True, desc="bias-corrected image")
    in_mask = File(exists=True, mandatory=True, desc="brain mask")
    in_structures = File(exists=True, mandatory=True, desc="structures, FreeSurfer ids")
    in_probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc="probabilities of GM, WM and CSF"
    )
    in_measures = File(exists=True, mandatory=True, desc="JSON with the uncertainty of the structures")
    in_transform = File(exists=True, mandatory=True, desc="JSON of the registration to the template")
    in_intracranial = File(exists=True, desc="JSON with the intracranial volume")
    intracranial_ml = traits.Tuple(
        traits.Float, traits.Float, desc="plausible volumes (mL) of the cranial cavity"
    )
    stripped = traits.Bool(False, usedefault=True, desc="whether the image has no skull")
    misfit = Str("", usedefault=True, desc="why the orientation in the header does not fit the head")
    caution = Str("", usedefault=True, desc="why a corrected orientation needs a check")
    label_table = Str("adult", usedefault=True, desc="label table of the structures")
    plausible_ml = traits.Tuple(traits.Float, traits.Float, desc="plausible volumes (mL) of the brain")
    cautions = traits.List(Str, desc="reasons for which the QC rating is at most check")


class _AssessOutputSpec(TraitedSpec):
    out_quality = File(exists=True, desc="JSON: QC rating, score, checks, metrics, structures")
    notes = traits.List(Str, desc="notes for the report")


class Assess(Stage):
    """Measure the quality of an image and of its processing."""

    input_spec = _AssessInputSpec
    output_spec = _AssessOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        image, mask, structures = load(inputs.in_file), load(inputs.in_mask), load(inputs.in_structures)
        aligned = read_alignment(inputs.in_transform)
        found = assess(
            image,
            mask,
            structures,
            {name: load(path) for name, path in zip(labels.DSEG_NAMES, inputs.in_probabilities, strict=True)},
            scan=load(inputs.in_conformed),
            matrix=aligned.matrix,
            template=spaces.parse(aligned.space).label,
            table=inputs.label_table,
            stripped=bool(inputs.stripped),
            plausible_ml=inputs.plausible_ml if isdefined(inputs.plausible_ml) else None,
            uncertainty=read_uncertainty(inputs.in_measures),
            folds=100 * aligned.folds if aligned.engine != "none" else None,
            cautions=[*(inputs.cautions or ()), *filter(None, [inputs.caution])],
            misfit=inputs.misfit,
            cavity=self._cavity(),
        )
        path = folder / "quality.json"
        path.write_text(json.dumps(found))
        self._results["out_quality"] = str(path)
        flagged = [check["words"] for check in found["checks"] if check["verdict"] != rating.PASS]
        words = {rating.CHECK: "inspect the results", rating.FAIL: "failed"}
        self._results["notes"] = (
            [f"Quality control: {words[found['verdict']]}. {'; '.join(flagged)}."] if flagged else []
        )

    def _cavity(self) -> rating.Cavity | None:
        """Return what is known of the cranial cavity; None without it."""
        if not isdefined(self.inputs.in_intracranial):
            return None
        found = intracranial.read(self.inputs.in_intracranial)
        if found.volume is None or not isdefined(self.inputs.intracranial_ml):
            return None
        return rating.Cavity(found.volume / 1000, found.outside or 0.0, self.inputs.intracranial_ml)


def assess(
    image: Volume,
    mask: Volume,
    structures: Volume,
    probabilities: dict[str, Volume],
    *,
    scan: Volume | None = None,
    matrix: np.ndarray | None = None,
    template: str = bundled.DEFAULT,
    table: str = "adult",
    stripped: bool = False,
    plausible_ml: tuple[float, float] | None = None,
    uncertainty: dict[int, float] | None = None,
    folds: float | None = None,
    cautions: Sequence[str] = (),
    misfit: str = "",
    cavity: rating.Cavity | None = None,
) -> dict[str, Any]:
    """Measure the quality of an image and of its processing.

    Parameters
    ----------
    image, mask, structures : Volume
        Bias-corrected image, brain mask and structures (FreeSurfer ids) on one grid, shape (X, Y, Z).
    probabilities : dict of str to Volume
        ``GM``, ``WM`` and ``CSF`` on the same grid.
    scan : Volume, optional
        The image before bias correction.
    matrix : ndarray, shape (4, 4), optional
        From mm of the image to mm of ``template``.
    template, table, stripped : str, str, bool
        Template and label table, and whether the image has no skull.
    uncertainty : dict, optional
        Entropy of the network's posteriors by FreeSurfer id.
    plausible_ml, folds, cautions, misfit, cavity
        As in :func:`brainseg.models.quality.rating.rate`.

    Returns
    -------
    dict
        ``verdict``, ``score``, ``checks``, ``metrics``, ``structures`` and ``table``, ready for JSON.
    """
    norms = quality.load(table)
    matrix, template = quality.to_norms(matrix, template, norms)
    maps = _tissue_maps(template) if matrix is not None else None
    field = _field(scan, image, mask) if scan is not None else None
    metrics = iqm.measure(
        image, mask, probabilities, field=field, matrix=matrix, tissue_maps=maps, stripped=stripped
    )
    given = (image, mask, structures)
    measured = quality.measure(*given, norms, table, uncertainty or {}) if norms else []
    known = matrix if norms and norms.template == template else None
    expected: dict[str, Any] = {"norms": norms, "plausible_ml": plausible_ml, "misfit": misfit}
    expected |= {"cautions": cautions, "table": table, "matrix": known, "folds": folds, "cavity": cavity}
    whole = norms is not None and not stripped
    expected["outside"] = surroundings.brain_outside(*given, table) if whole else None
    rated = rating.rate(measured, mask, structures, **expected)
    rows = {"checks": [*map(asdict, rated.checks)], "structures": [*map(asdict, measured)]}
    return {"verdict": rated.rating, "score": rated.score, "table": table, "metrics": metrics} | rows


@cache
def _tissue_maps(template: str) -> tuple[Grid, dict[str, torch.Tensor]] | None:
    """Keep the probabilities of a template's tissues for the next participant."""
    return bundled.tissue_maps(template)


def _field(scan: Volume, image: Volume, mask: Volume) -> Volume | None:
    """Return the bias field in the brain, scaled to median 1; None if it is unknown."""
    if not bool((mask.data > 0).any()):
        return None
    start, shape = box(mask, 0.0)
    part = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    before, after = scan.data[part].float(), image.data[part].float()
    known = (mask.data[part] > 0) & (after > 1e-6) & (before > 0)
    if not bool(known.any()):
        return None
    values = before[known] / after[known]
    middle = values.median()
    ratio = torch.full(scan.data.shape, float(1 / middle))
    ratio[part][known] = values / middle
    return scan.with_data(ratio)


def jobs(
    names: Names, path: str | Path, notes: Sequence[str] = (), marks: dict[str, Any] | None = None
) -> list[Callable[[], Path]]:
    """Return functions that write the derivatives of the quality control.

    Parameters
    ----------
    names : Names
        Names of the derivatives.
    path : str or Path
        JSON of :class:`Assess`.
    notes : sequence of str
        Notes of the quality control.
    marks : dict, optional
        Further content of the JSON files.

    Returns
    -------
    list of callable
        Each writes one file and returns its path.
    """
    found = json.loads(Path(path).read_text())
    endings = (names.preproc, outputs.ending("mask"), outputs.ending("structures"))
    sources = [names.uri(ending) for ending in endings]
    content = {
        **derivatives.described("quality_metrics"),
        "Verdict": found["verdict"],
        "Score": _rounded(found["score"]),
        "Checks": found["checks"],
        "Metrics": {name: _rounded(value) for name, value in found["metrics"].items()},
        "Definitions": {name: iqm.DEFINITIONS[name] for name in found["metrics"]},
        "Notes": list(notes),
        "Sources": sources,
        **(marks or {}),
    }
    path = names.path(outputs.ending("quality_metrics"))
    out: list[Callable[[], Path]] = [partial(files.write_json, path, content)]
    if found["structures"]:
        rows = structure_rows(found)
        path = names.path(outputs.ending("quality_structures"))
        out.append(partial(files.write_table, path, tuple(COLUMNS), rows))
        about = {**COLUMNS, "Sources": sources, **(marks or {})}
        out.append(partial(files.write_json, path.with_suffix(".json"), about))
    return out


def structure_rows(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of the table of structures.

    Parameters
    ----------
    found : dict
        Result of :func:`assess`.

    Returns
    -------
    list of tuple
        One row per structure, in the order of ``COLUMNS``.
    """
    table = labels.load(found["table"])
    rows = []
    for one in found["structures"]:
        head = [one["index"], table[one["index"]].name, _cell(one["score"]), f"{one['volume']:.2f}"]
        counts = [one[name] for name in ("pieces", "holes", "euler")]
        rows.append((*head, *counts, *(_cell(one["signs"].get(name)) for name in quality.SIGNS)))
    return rows


def _cell(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _rounded(value: float | None) -> float | None:
    """Round to five significant digits."""
    return None if value is None else float(f"{value:.5g}")
