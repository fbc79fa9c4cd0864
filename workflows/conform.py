"""Conform: from a scan of the dataset to a checked one."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.conform import Conform


def init_conform_wf(*, name: str = "conform_wf", mem_gb: float = 0.8) -> LiterateWorkflow:
    """Read and check a scan.

    Parameters
    ----------
    name : str
        Name of the workflow.
    mem_gb : float
        Memory (GB) that the node may need.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.

    Outputs
    -------
    out_file
        The scan, float32, on its own grid.
    notes
        What is odd in its header.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = "The image was used on its own grid, in any orientation and voxel size. "
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_file", "notes"]), name="outputnode")
    conform = pe.Node(Conform(), name="conform", n_procs=1, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, conform, [("source_file", "source_file")]),
            (conform, outputnode, [("out_file", "out_file"), ("notes", "notes")]),
        ]
    )
    return workflow
