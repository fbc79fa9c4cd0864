"""Hippocampus: from a T1w image and its segmentation to anterior and posterior hippocampus."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.hippocampus import FindHippocampus
from ..models.pipeline import methods
from ..models.population.contrasts import hippocampus_skipped
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
    """Divide both hippocampi into an anterior and a posterior part.

    Parameters
    ----------
    name : str
        Name of the workflow.
    model : str
        Weights of the network; empty if the population has none.
    contrast : str
        Suffix of the image. A contrast that the network does not support gets a note and no result.
    device : str
        Device of the network.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_file : str
        Bias-corrected image, shape (X, Y, Z).
    in_structures : str
        Structures on the same grid, FreeSurfer ids.
    in_measures : str
        JSON with centroids (mm) of the structures.

    Outputs
    -------
    out_file : str
        Labels of the table ``hippocampus`` on the same grid, uint8.
    out_volumes : str
        JSON with their volumes (mm3).
    notes : list of str
        Notes for the report.
    """
    hippocampus = pe.Node(
        FindHippocampus(model=model, contrast=contrast, device=device, use_gpu=device.startswith("cuda")),
        name="hippocampus",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    with about(None):
        desc = "" if hippocampus_skipped(contrast, model) else methods.hippocampus(model)
    return init_stage_wf(name, hippocampus, INPUTS, OUTPUTS, desc)
