"""Build workflows: a stage of one node, and connections from a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

Connection = tuple[str, str, str, str]
"""Source stage, its output, target stage, its input."""


def init_stage_wf(
    name: str, node: pe.Node, inputs: Sequence[str], outputs: Sequence[str], desc: str = ""
) -> LiterateWorkflow:
    """Wrap one node as a stage with ``inputnode`` and ``outputnode``.

    Parameters
    ----------
    name : str
        Name of the workflow.
    node : Node
        The node that does the work.
    inputs, outputs : sequence of str
        Fields of the node that the stage exposes under the same names.
    desc : str
        Methods text of the stage.

    Returns
    -------
    LiterateWorkflow
        The stage.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = desc
    inputnode = pe.Node(IdentityInterface(list(inputs)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(list(outputs)), name="outputnode")
    workflow.connect(
        [
            (inputnode, node, [(n, n) for n in inputs]),
            (node, outputnode, [(n, n) for n in outputs]),
        ]
    )
    return workflow


def connect_stages(
    workflow: pe.Workflow, stages: Mapping[str, pe.Node | pe.Workflow], connections: Iterable[Connection]
) -> None:
    """Connect stages of a workflow as a table says.

    Parameters
    ----------
    workflow : Workflow
        The workflow that contains the stages.
    stages : mapping of str to Node or Workflow
        Nodes, and workflows with ``inputnode`` and ``outputnode``, by their names in the table.
    connections : iterable of tuple
        Rows of source stage, output, target stage and input.
    """
    for source, output, target, field in connections:
        origin, end = stages[source], stages[target]
        if isinstance(origin, pe.Workflow):
            output = f"outputnode.{output}"
        if isinstance(end, pe.Workflow):
            field = f"inputnode.{field}"
        workflow.connect(origin, output, end, field)
