"""Growth: from volumes to an age, where it is not known."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.growth import EstimateAge
from ..models.population import growth, populations
from .common.base import init_stage_wf

DESC = """\
Where it was not known, the age was estimated by a regression on the logarithm of volumes, fitted to \
{subjects} labeled brains (root mean squared error {error:.1f} {unit} on held-out brains). """


def init_growth_wf(
    *, name: str = "growth_wf", population: str = "adult", age: float | None = None
) -> LiterateWorkflow:
    """Add the age of a brain to its measures, and estimate it where it is not known.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Name of the population. An age is estimated only if its record has growth curves.
    age : float, optional
        Known age in the unit of the population.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_measures : str
        JSON with volumes (mm3) of the structures.

    Outputs
    -------
    out_measures : str
        The same JSON with the age.
    notes : list of str
        Notes for the report.
    """
    record, desc = populations.load(population), ""
    if record.growth and age is None:
        curves = growth.load(record.growth)
        desc = DESC.format(subjects=curves.subjects, error=curves.error, unit=record.age_unit)
    grow = EstimateAge(population=population)
    if age is not None:
        grow.inputs.age = age
    node = pe.Node(grow, name="growth", n_procs=1, mem_gb=0.2, run_without_submitting=True)
    return init_stage_wf(name, node, ["source_file", "in_measures"], ["out_measures", "notes"], desc)
