"""A stage of one node: what comes in goes to it under its own name, and so does what comes out."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow


def init_single_wf(
    name: str, node: pe.Node, inputs: Sequence[str], outputs: Sequence[str], desc: str = ""
) -> LiterateWorkflow:
    """Wrap a node as a stage.

    Parameters
    ----------
    name : str
        Name of the workflow.
    node : Node
        What works.
    inputs, outputs : sequence of str
        Its fields that the stage has, too.
    desc : str
        The stage's part of the methods text.
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
