"""Growth: how old the brain is, as given or as its volumes tell."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.growth import Grow
from ..models import growth, populations

DESC = """\
The age was estimated by a regression on the logarithm of volumes, fitted to {subjects} labelled brains \
(root mean squared error {error:.1f} {unit} on brains left out). """


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
    workflow = LiterateWorkflow(name)
    record = populations.load(population)
    if record.growth and age is None:
        curves = growth.load(record.growth)
        workflow.__desc__ = DESC.format(subjects=curves.subjects, error=curves.error, unit=record.age_unit)
    inputs = ["source_file", "in_measures"]
    inputnode = pe.Node(IdentityInterface(inputs), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_measures", "notes"]), name="outputnode")
    grow = Grow(population=population)
    if age is not None:
        grow.inputs.age = age
    node = pe.Node(grow, name="growth", n_procs=1, mem_gb=0.2, run_without_submitting=True)
    workflow.connect(
        [
            (inputnode, node, [(n, n) for n in inputs]),
            (node, outputnode, [(n, n) for n in ("out_measures", "notes")]),
        ]
    )
    return workflow
