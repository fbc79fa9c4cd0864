"""Skull-stripping: from a scan to the brain's mask."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.skullstrip import SkullStrip
from .common.base import init_stage_wf

DESC = """\
The brain was found by two convolutional networks, at {coarse:g} mm in the whole image and at {fine:g} \
mm around the brain. They were trained on synthetic images of random contrast (the approach of SynthSeg; \
Billot et al., 2023, doi:10.1016/j.media.2023.102789) and regress the signed distance to the brain's \
surface (as SynthStrip does; Hoopes et al., 2022, doi:10.1016/j.neuroimage.2022.119474). """
STRIPPED = {
    "auto": "Images that came without a skull were recognised, and their own extent taken as the mask. ",
    "skip": "The images had been skull-stripped before; their own extent was taken as the mask. ",
    "force": "",
}

INPUTS = ["source_file", "in_file"]
OUTPUTS = ["out_mask", "stripped", "notes"]


def init_skullstrip_wf(
    *,
    name: str = "skullstrip_wf",
    mode: str = "auto",
    model: str = "skullstrip",
    coarse_model: str = "head-coarse",
    plausible_ml: tuple[float, float] = (100.0, 2600.0),
    spacing: tuple[float, float] = (3.0, 1.0),
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Find the brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    mode : {'auto', 'skip', 'force'}
        Whether a scan without skull is recognised, taken for granted or ruled out.
    model, coarse_model : str
        Weights that refine the brain's surface.
    plausible_ml : tuple of float
        Volumes (mL) that a brain can have; a mask of another is noted.
    spacing : tuple of float
        Voxel sizes (mm) of the coarse and of the fine network, for the methods text.
    device : str
        Where the networks run.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_file
        The conformed scan.

    Outputs
    -------
    out_mask
        1 in the brain, on the scan's grid.
    stripped
        Whether the scan came without a skull.
    notes
        What a reader of the results should know.
    """
    skullstrip = pe.Node(
        SkullStrip(
            mode=mode,
            model=model,
            coarse_model=coarse_model,
            plausible_ml=plausible_ml,
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="skullstrip",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    desc = DESC.format(coarse=spacing[0], fine=spacing[1]) + STRIPPED[mode]
    return init_stage_wf(name, skullstrip, INPUTS, OUTPUTS, desc)
