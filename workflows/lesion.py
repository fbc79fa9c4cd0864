"""Lesion: from a FLAIR or T2w image and its brain mask to a lesion mask."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.lesion import FindLesions
from ..models.pipeline import methods
from ..models.pipeline.lesion_image import skipped
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file", "in_mask", "in_structures", "in_images"]
OUTPUTS = ["out_file", "out_probability", "out_lesions", "notes"]


def init_lesion_wf(
    *,
    image: str,
    name: str = "lesion_wf",
    model: str = "lesion",
    force: bool = False,
    contrasts: Sequence[str] = (),
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Segment lesions.

    Parameters
    ----------
    image : str
        Image in the dataset. A contrast that the network does not support gets a note and no result.
    name : str
        Name of the workflow.
    model : str
        Weights of the network; empty if the population has none.
    force : bool
        Whether images with bright CSF, such as T2w, are segmented.
    contrasts : sequence of str
        BIDS suffixes of ``in_images``.
    device : str
        Device of the network.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Reference image in the dataset.
    in_file : str
        Image with lesions, not corrected for bias, on the grid of the reference image, shape (X, Y, Z).
    in_mask : str
        Brain mask on the same grid.
    in_structures : str, optional
        Structures (FreeSurfer ids) on the same grid, whose CSF no lesion covers.

    in_images : list of str, optional
        Images of all contrasts on the same grid, not corrected for bias, for a network of several.

    Outputs
    -------
    out_file : str
        Lesion mask on the same grid, uint8.
    out_probability : str
        Lesion probability on the same grid, float32.
    out_lesions : str
        JSON with volume (mm3), center (mm) and probability of each lesion.
    notes : list of str
        Notes for the report.
    """
    lesion = pe.Node(
        FindLesions(
            model=model,
            image=image,
            force=force,
            contrasts=list(contrasts),
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="lesion",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    contrast = image.split(".")[0].rpartition("_")[2]
    with about(None):
        desc = "" if skipped(contrast, model, force, contrasts) else methods.lesion(model, contrast)
    return init_stage_wf(name, lesion, INPUTS, OUTPUTS, desc)
