"""Segmentation: from a brain to its structures and tissues."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.segmentation import Segment
from .common.base import init_stage_wf

DESC = """\
The brain was segmented into {structures} structures by two convolutional networks, at {coarse:g} mm and \
{fine:g} mm{mirror}, trained on synthetic images in the same way{shapes}. Their posteriors were the prior of \
a Gaussian mixture that expectation-maximisation fitted to the image at 1 mm (the principle of Van Leemput \
et al., 1999, doi:10.1109/42.811270). The tissues (gray matter, white matter, cerebrospinal fluid) are sums \
of the structures'. Volumes are sums of probabilities. """
SHAPES = """, and by a probabilistic atlas of the deep structures that was registered to the image by a \
diffeomorphism (the principle of Puonti et al., 2016, doi:10.1016/j.neuroimage.2016.09.011)"""
INPUTS = ["source_file", "in_file", "in_mask"]
OUTPUTS = ["out_structures", "out_tissue", "out_probabilities", "out_measures", "notes"]


def init_segmentation_wf(
    *,
    name: str = "segmentation_wf",
    model: str = "segmentation",
    coarse_model: str = "head-coarse",
    structures: int = 32,
    spacing: tuple[float, float] = (3.0, 1.5),
    accurate: bool = False,
    label_table: str | None = None,
    shapes: bool = False,
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 3.0,
) -> LiterateWorkflow:
    """Segment a brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    model, coarse_model : str
        Weights of the fine network.
    structures : int
        Number of structures, for the methods text.
    spacing : tuple of float
        Voxel sizes (mm) of the coarse and of the fine network, for the methods text.
    accurate : bool
        Whether the fine network also looks at the mirror image.
    label_table : str, optional
        A coarser label table than the network's, in which parts count to their wholes.
    shapes : bool
        Whether the network's card names an atlas, for the methods text.
    device : str
        Where the networks run.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_file
        The bias-corrected scan.
    in_mask
        The brain.

    Outputs
    -------
    out_structures
        FreeSurfer ids, on the scan's grid.
    out_tissue
        Six tissues, same grid.
    out_probabilities
        Probabilities of GM, WM and CSF, same grid.
    out_measures
        JSON with volumes (mm3) and centroids (mm) by FreeSurfer id.
    notes
        What a reader of the results should know.
    """
    segmentation = pe.Node(
        Segment(
            model=model,
            coarse_model=coarse_model,
            accurate=accurate,
            label_table=label_table or "",
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="segmentation",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    desc = DESC.format(
        structures=structures,
        coarse=spacing[0],
        fine=spacing[1],
        shapes=SHAPES if shapes else "",
        mirror=", the latter as the mean over the image and its mirror image" if accurate else "",
    )
    return init_stage_wf(name, segmentation, INPUTS, OUTPUTS, desc)
