"""Quality control: from all that was found to metrics, scores and a verdict."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.quality import Assess
from .common.base import init_stage_wf

DESC = """\
Image quality was measured by the metrics of *MRIQC* (Esteban et al., 2017, \
doi:10.1371/journal.pone.0184661). """
EXPECTED_DICE = """\
For every structure, the Dice coefficient with the truth was predicted from its size, asymmetry, topology, \
position, borders and homogeneity and from the networks' uncertainty, by a model calibrated on corrupted \
segmentations of synthetic heads. """
IMAGES = (
    "in_conformed",
    "in_file",
    "in_mask",
    "in_structures",
    "in_probabilities",
    "in_measures",
    "in_transform",
    "stripped",
)


def init_quality_wf(
    *,
    name: str = "quality_wf",
    label_table: str = "adult",
    plausible_ml: tuple[float, float] = (100.0, 2600.0),
    expected_dice: bool = True,
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Measure the quality of an image and of what was found in it.

    Parameters
    ----------
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    plausible_ml : tuple of float
        Plausible volumes (mL) of the brain.
    expected_dice : bool
        Whether the Dice coefficient of every structure is predicted, for the methods text.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_scan, in_file
        The scan before and after bias correction.
    in_mask, in_structures, in_probabilities, in_measures, in_transform
        What the stages found.
    stripped
        Whether the scan came without a skull.

    Outputs
    -------
    out_quality
        JSON with verdict, score, checks, metrics and structures.
    notes
        What a reader of the results should know.
    """
    assess = Assess(label_table=label_table, plausible_ml=plausible_ml)
    quality = pe.Node(assess, name="quality", n_procs=num_threads, mem_gb=mem_gb)
    desc = DESC + (EXPECTED_DICE if expected_dice else "")
    return init_stage_wf(name, quality, ["source_file", *IMAGES], ["out_quality", "notes"], desc)
