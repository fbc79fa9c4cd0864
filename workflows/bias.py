"""Bias correction: from a scan and its brain to an even one."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.bias import CorrectBias
from .common.base import init_stage_wf

DESC = """\
Intensity non-uniformity was corrected with N4 (Tustison et al., 2010, doi:10.1109/TMI.2010.2046908) as \
ANTs implements it, estimated in the brain on a grid thinned {shrink} times. """


def init_bias_wf(
    *, name: str = "bias_wf", shrink: int = 4, num_threads: int = 1, mem_gb: float = 1.5
) -> LiterateWorkflow:
    """Remove the smooth intensity field of the coils.

    Parameters
    ----------
    name : str
        Name of the workflow.
    shrink : int
        Factor by which the grid is thinned for the estimate.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_file
        The conformed scan.
    in_mask
        The brain.

    Outputs
    -------
    out_file
        The corrected scan, float32, same grid.
    """
    bias = pe.Node(CorrectBias(shrink=shrink), name="bias", n_procs=num_threads, mem_gb=mem_gb)
    inputs = ["source_file", "in_file", "in_mask"]
    return init_stage_wf(name, bias, inputs, ["out_file"], DESC.format(shrink=shrink))
