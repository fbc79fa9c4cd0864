"""Conform: from a scan of the dataset to a checked one."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.conform import Conform

AVERAGE_DESC = """\
The {count} images of this contrast were aligned to each other by rigid transforms (mutual information; \
Mattes et al., 2003, doi:10.1109/TMI.2003.809072) and averaged in a space halfway between them (Reuter et \
al., 2012, doi:10.1016/j.neuroimage.2012.02.084), which was the reference. """


def init_conform_wf(
    *,
    name: str = "conform_wf",
    averaged: list[str] | None = None,
    sloppy: bool = False,
    mem_gb: float = 0.8,
) -> LiterateWorkflow:
    """Read and check a scan, or average several.

    Parameters
    ----------
    name : str
        Name of the workflow.
    averaged : list of str, optional
        Scans whose average takes the scan's place.
    sloppy : bool
        Whether a coarse alignment of them will do.
    mem_gb : float
        Memory (GB) that the node may need.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.

    Outputs
    -------
    out_file
        The scan, float32, on its own grid; or the average.
    out_runs
        JSON with the matrices from the averaged scans' mm to the average's.
    notes
        What is odd in its header.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = "The image was used on its own grid, in any orientation and voxel size. "
    if averaged:
        workflow.__desc__ = AVERAGE_DESC.format(count=len(averaged))
    outputs = ["out_file", "notes", *(["out_runs"] if averaged else [])]
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_file", "out_runs", "notes"]), name="outputnode")
    interface = Conform(averaged=averaged or [], sloppy=sloppy)
    conform = pe.Node(interface, name="conform", n_procs=1, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, conform, [("source_file", "source_file")]),
            (conform, outputnode, [(n, n) for n in outputs]),
        ]
    )
    return workflow
