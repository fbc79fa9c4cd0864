"""Conform: from images of the dataset to one checked image."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.conform import Conform

AVERAGE_DESC = """\
The {count} images of this contrast were aligned to each other by rigid transforms (mutual information; \
Mattes et al., 2003, doi:10.1109/TMI.2003.809072) and averaged in a space halfway between them (Reuter et \
al., 2012, doi:10.1016/j.neuroimage.2012.02.084), which was the reference. """

REORIENT_DESC = """\
Where the orientation in the header did not fit the head, a copy was corrected by quarter turns. """


def init_conform_wf(
    *,
    name: str = "conform_wf",
    averaged: list[str] | None = None,
    sloppy: bool = False,
    reorient: str = "",
    model: str = "",
    mem_gb: float = 0.8,
) -> LiterateWorkflow:
    """Read and check an image, or average several.

    Parameters
    ----------
    name : str
        Name of the workflow.
    averaged : list of str, optional
        Images whose average replaces the image.
    sloppy : bool
        Whether to align them coarsely.
    reorient : str
        Correct the orientation: ``auto``, or the true axis codes; empty leaves it.
    model : str
        Network that checks the orientation; empty for brains that may lie in any direction.
    mem_gb : float
        Memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Image in the dataset.

    Outputs
    -------
    out_file : str
        The image on its own grid, or the average, float32, shape (X, Y, Z).
    out_runs : str
        JSON with matrices, shape (4, 4), from mm of the averaged images to mm of the average.
    reoriented, caution : str
        The corrected orientation, and why it needs a check; empty if unchanged.
    notes : list of str
        Notes on the header.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = "The image was used on its own grid, in any orientation and voxel size. "
    if averaged:
        workflow.__desc__ = AVERAGE_DESC.format(count=len(averaged))
    if reorient:
        workflow.__desc__ += REORIENT_DESC
    outputs = ["out_file", "reoriented", "caution", "notes", *(["out_runs"] if averaged else [])]
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    outputnode = pe.Node(
        IdentityInterface(["out_file", "out_runs", "reoriented", "caution", "notes"]), name="outputnode"
    )
    interface = Conform(averaged=averaged or [], sloppy=sloppy, reorient=reorient, model=model)
    conform = pe.Node(interface, name="conform", n_procs=1, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, conform, [("source_file", "source_file")]),
            (conform, outputnode, [(n, n) for n in outputs]),
        ]
    )
    return workflow
