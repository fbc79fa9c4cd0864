"""Segmentation: from a brain to its structures and tissues."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.segmentation import Segment
from ..models.pipeline import methods
from ..models.population import populations
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file", "in_mask"]
OUTPUTS = ["out_structures", "out_tissue", "out_probabilities", "out_measures", "notes"]


def init_segmentation_wf(
    *,
    name: str = "segmentation_wf",
    population: str = "adult",
    effort: str = "fast",
    label_table: str | None = None,
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 3.0,
) -> LiterateWorkflow:
    """Segment a brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Population of the brain.
    effort : {'fast', 'accurate'}
        ``accurate`` averages the posteriors of the image and its mirror image; it becomes a note where the
        population's method does not have this option.
    label_table : str, optional
        A coarser label table than the network's, whose structures are sums of the network's.
    device : str
        Device of the networks.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan in the dataset.
    in_file
        The bias-corrected scan.
    in_mask
        The brain.

    Outputs
    -------
    out_structures
        FreeSurfer ids, int16, on the scan's grid.
    out_tissue
        Six tissues, uint8, same grid.
    out_probabilities
        Probabilities of GM, WM and CSF, float32, same grid.
    out_measures
        JSON with volumes (mm3), centroids (mm) and uncertainty by FreeSurfer id.
    notes
        Notes on the results.

    Raises
    ------
    MissingFileError
        If a network is not installed.
    """
    with about(None):
        desc = methods.segmentation(populations.load(population), label_table, effort)
    segmentation = pe.Node(
        Segment(
            population=population,
            effort=effort,
            label_table=label_table or "",
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="segmentation",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    return init_stage_wf(name, segmentation, INPUTS, OUTPUTS, desc)
