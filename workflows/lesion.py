"""Lesions: from a FLAIR or T2w image and the brain mask to a lesion mask."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.lesion import FindLesions, skipped
from ..models.pipeline import methods
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file", "in_mask"]
OUTPUTS = ["out_file", "out_probability", "out_lesions", "notes"]


def init_lesion_wf(
    *,
    image: str,
    name: str = "lesion_wf",
    model: str = "lesion",
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Find lesions.

    Parameters
    ----------
    image : str
        The image as the dataset holds it; for one that shows no lesions there is a note and no result.
    name : str
        Name of the workflow.
    model : str
        Weights of the network; empty if the population has none.
    device : str
        Where the network runs.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_file
        The bias-corrected image in which lesions are looked for, on the scan's grid.
    in_mask
        The brain, on the same grid.

    Outputs
    -------
    out_file, out_probability
        Lesions and their probability, on the same grid.
    out_lesions
        JSON with volume, centre and probability of each.
    notes
        What a reader of the results should know.
    """
    lesion = pe.Node(
        FindLesions(model=model, image=image, device=device, use_gpu=device.startswith("cuda")),
        name="lesion",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    contrast = image.split(".")[0].rpartition("_")[2]
    with about(None):
        desc = "" if skipped(contrast, model) else methods.lesion(model, contrast)
    return init_stage_wf(name, lesion, INPUTS, OUTPUTS, desc)
