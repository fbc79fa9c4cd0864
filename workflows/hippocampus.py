"""Hippocampus: from a T1w image and its segmentation to the anterior and posterior part of each side."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.hippocampus import FindHippocampus, skipped
from ..models.pipeline import methods
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file", "in_structures", "in_measures"]
OUTPUTS = ["out_file", "out_volumes", "notes"]


def init_hippocampus_wf(
    *,
    name: str = "hippocampus_wf",
    model: str = "hippocampus",
    contrast: str = "T1w",
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Tell anterior and posterior part of both hippocampi.

    Parameters
    ----------
    name : str
        Name of the workflow.
    model : str
        Weights of the network; empty if the population has none.
    contrast : str
        Suffix of the scan; for one that the network does not know there is a note and no result.
    device : str
        Where the network runs.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_file
        The bias-corrected scan.
    in_structures
        FreeSurfer ids, same grid.
    in_measures
        JSON with the structures' centroids (mm).

    Outputs
    -------
    out_file
        Labels of the table ``hippocampus``, on the scan's grid.
    out_volumes
        JSON with their volumes (mm3).
    notes
        What a reader of the results should know.
    """
    hippocampus = pe.Node(
        FindHippocampus(model=model, contrast=contrast, device=device, use_gpu=device.startswith("cuda")),
        name="hippocampus",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    with about(None):
        desc = "" if skipped(contrast, model) else methods.hippocampus(model)
    return init_stage_wf(name, hippocampus, INPUTS, OUTPUTS, desc)
