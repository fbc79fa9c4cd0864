"""Age and growth as a node: how old the brain is, as given or as its volumes tell."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, Str, TraitedSpec, isdefined, traits

from ..models.population import growth, populations
from ..models.population.populations import Population
from .base import Stage, StageInputSpec
from .segmentation import read_measures

FAR = 2.5
"""Standard errors of the estimated age from which it contradicts the given one."""


class _GrowInputSpec(StageInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' volumes")
    population = Str("adult", usedefault=True, desc="whose brain it is")
    age = traits.Float(desc="age in the population's unit, if it is known")


class _GrowOutputSpec(TraitedSpec):
    out_measures = File(exists=True, desc="the same with the age, where it is known or can be told")
    notes = traits.List(Str, desc="what a reader of the results should know")


class Grow(Stage):
    """Add the age to what was measured; where it is not known and the volumes tell it, their estimate."""

    input_spec = _GrowInputSpec
    output_spec = _GrowOutputSpec

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        record = populations.load(given.population)
        volumes, _ = read_measures(given.in_measures)
        age, notes = age_of(volumes, record, given.age if isdefined(given.age) else None)
        path = folder / "measures.json"
        path.write_text(json.dumps(json.loads(Path(given.in_measures).read_text()) | {"age": age}))
        self._results["out_measures"] = str(path)
        self._results["notes"] = notes


def age_of(
    volumes: dict[int, float], record: Population, known: float | None
) -> tuple[dict[str, float | str] | None, list[str]]:
    """The age of a brain, and what to say about it.

    Parameters
    ----------
    volumes : dict of int to float
        Volumes (mm3) by label index.
    record : Population
        Whose brain it is.
    known : float or None
        The age as given, in the population's unit.

    Returns
    -------
    dict or None
        ``age`` with its ``unit``, and if it is an estimate its ``error``; None if nothing tells it.
    list of str
        Notes for the reader.
    """
    given = None if known is None else {"age": known, "unit": record.age_unit}
    curves = growth.load(record.growth) if record.growth else None
    told = curves.estimate(volumes, record.labels) if curves else None
    if curves is None or told is None:
        return given, []
    if known is None:
        note = (
            f"No age was given: the volumes tell {told:.1f} {record.age_unit} "
            f"(root mean squared error {curves.error:.1f}), which was used in its place."
        )
        found = {"age": round(told, 2), "unit": record.age_unit, "error": round(curves.error, 2)}
        least, most = record.ages
        beyond = f"The estimated age is outside of the {least:g} to {most:g} that the networks know."
        return found, [note] if least <= told <= most else [note, beyond]
    if abs(told - known) > FAR * curves.error:
        note = (
            f"The volumes look like {told:.1f} {record.age_unit}, but the age is given as {known:.1f}: "
            f"look at the segmentation, and whether the age is right."
        )
        return given, [note]
    return given, []


def read_age(path: str | Path) -> dict[str, float | str] | None:
    """The age, as :func:`age_of` gives it."""
    return json.loads(Path(path).read_text()).get("age")
