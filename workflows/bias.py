"""Bias correction: from a conformed image and its brain mask to a corrected image."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.bias import CorrectBias
from .common.base import init_stage_wf

DESC = """\
Intensity non-uniformity was corrected with N4 (Tustison et al., 2010, doi:10.1109/TMI.2010.2046908) with \
the steps and constants of ITK, estimated in the brain on a grid thinned {shrink} times. """


def init_bias_wf(
    *, name: str = "bias_wf", shrink: int = 4, num_threads: int = 1, mem_gb: float = 1.5
) -> LiterateWorkflow:
    """Correct the intensity non-uniformity of an image.

    Parameters
    ----------
    name : str
        Name of the workflow.
    shrink : int
        Subsampling factor of the grid for the estimate.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_file : str
        Conformed image, shape (X, Y, Z).
    in_mask : str
        Brain mask on the same grid.

    Outputs
    -------
    out_file : str
        Bias-corrected image on the same grid, float32.
    """
    bias = pe.Node(CorrectBias(shrink=shrink), name="bias", n_procs=num_threads, mem_gb=mem_gb)
    inputs = ["source_file", "in_file", "in_mask"]
    return init_stage_wf(name, bias, inputs, ["out_file"], DESC.format(shrink=shrink))
