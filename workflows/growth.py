"""Growth: how old the brain is, as given or as its volumes tell."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.growth import EstimateAge
from ..models.population import growth, populations
from .common.base import init_stage_wf

DESC = """\
The age was estimated by a regression on the logarithm of volumes, fitted to {subjects} labeled brains \
(root mean squared error {error:.1f} {unit} on held-out brains). """


def init_growth_wf(
    *, name: str = "growth_wf", population: str = "adult", age: float | None = None
) -> LiterateWorkflow:
    """Find the age of a brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Whose brain it is; only where its record has growth curves is an age estimated.
    age : float, optional
        The age in the population's unit, if it is known.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_measures
        JSON with the structures' volumes.

    Outputs
    -------
    out_measures
        The same with the age.
    notes
        What a reader of the results should know.
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
