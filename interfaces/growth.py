"""Node that adds the age: the known one, or an estimate from the volumes."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, isdefined, traits

from ..models.population import growth, populations
from ..models.population.populations import Population
from .base import Stage, StageInputSpec
from .segmentation import read_measures

FAR = 2.5
"""Standard errors between estimated and known age above which a note is written."""


class _EstimateAgeInputSpec(StageInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' volumes")
    population = Str("adult", usedefault=True, desc="name of the population")
    age = traits.Float(desc="known age, in the unit of the population")


class _EstimateAgeOutputSpec(TraitedSpec):
    out_measures = File(exists=True, desc="JSON: the measures, and the known or estimated age")
    notes = traits.List(Str, desc="notes for the report")


class EstimateAge(Stage):
    """Add the age to the measures: the known age, or else an estimate from the volumes."""

    input_spec = _EstimateAgeInputSpec
    output_spec = _EstimateAgeOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        record = populations.load(inputs.population)
        volumes, _ = read_measures(inputs.in_measures)
        age, notes = age_of(volumes, record, inputs.age if isdefined(inputs.age) else None)
        path = folder / "measures.json"
        path.write_text(json.dumps(json.loads(Path(inputs.in_measures).read_text()) | {"age": age}))
        self._results["out_measures"] = str(path)
        self._results["notes"] = notes


def age_of(
    volumes: dict[int, float], record: Population, known: float | None
) -> tuple[dict[str, float | str] | None, list[str]]:
    """Return the age of a brain: the known age, or else an estimate from the volumes.

    Parameters
    ----------
    volumes : dict of int to float
        Volumes (mm3) by label index.
    record : Population
        Record of the population.
    known : float or None
        Known age in the unit of the population.

    Returns
    -------
    age : dict or None
        ``age``, ``unit``, and for an estimate its root mean squared ``error``. None if the age is neither
        known nor can be estimated.
    notes : list of str
        Notes for the report.
    """
    age: dict[str, float | str] | None = None if known is None else {"age": known, "unit": record.age_unit}
    curves = growth.load(record.growth) if record.growth else None
    estimate = curves.estimate(volumes, record.labels) if curves else None
    if curves is None or estimate is None:
        return age, []
    if known is None:
        note = (
            f"The age is unknown; its estimate from the volumes is {estimate:.1f} {record.age_unit} "
            f"(root mean squared error {curves.error:.1f})."
        )
        age = {"age": round(estimate, 2), "unit": record.age_unit, "error": round(curves.error, 2)}
        least, most = record.ages
        beyond = f"The estimated age is outside the training data ({least:g} to {most:g})."
        return age, [note] if least <= estimate <= most else [note, beyond]
    if abs(estimate - known) > FAR * curves.error:
        note = (
            f"The volumes suggest an age of {estimate:.1f} {record.age_unit}, but the known age is "
            f"{known:.1f}: check the segmentation and the age."
        )
        return age, [note]
    return age, []


def read_age(path: str | Path) -> dict[str, float | str] | None:
    """Return the age in a file of measures, as :func:`age_of` returns it.

    Parameters
    ----------
    path : str or Path
        JSON with the measures.

    Returns
    -------
    dict or None
        The age; None if it is unknown.
    """
    return json.loads(Path(path).read_text()).get("age")
