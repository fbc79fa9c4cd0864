"""Quality control: from the results of all stages to metrics, scores and a QC rating."""

from __future__ import annotations

from collections.abc import Sequence

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
    "in_intracranial",
    "stripped",
    "misfit",
    "caution",
)


def init_quality_wf(
    *,
    name: str = "quality_wf",
    label_table: str = "adult",
    plausible_ml: tuple[float, float] = (100.0, 2600.0),
    intracranial_ml: tuple[float, float] = (0.0, 4000.0),
    expected_dice: bool = True,
    cautions: Sequence[str] = (),
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Measure the quality of an image and of its processing.

    Parameters
    ----------
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    plausible_ml, intracranial_ml : tuple of float
        Plausible volumes (mL) of the brain, and of the cranial cavity.
    expected_dice : bool
        Whether the Dice coefficient of every structure is predicted, for the methods text.
    cautions : sequence of str
        Reasons for which the QC rating is at most *check*.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_conformed, in_file : str
        Image before and after bias correction, shape (X, Y, Z).
    in_mask, in_structures : str
        Brain mask and structures (FreeSurfer ids) on the same grid.
    in_probabilities : list of str
        Probabilities of GM, WM and CSF on the same grid.
    in_measures : str
        JSON with the uncertainty of the structures.
    in_transform : str
        JSON of the registration to the first output space.
    in_intracranial : str
        JSON with the intracranial volume (mm3).
    stripped : bool
        Whether the image has no skull.
    misfit, caution : str
        Why the orientation in the header does not fit the head, or why a corrected one needs a check.

    Outputs
    -------
    out_quality : str
        JSON with QC rating, score, checks, metrics and structures.
    notes : list of str
        Notes for the report.
    """
    assess = Assess(
        label_table=label_table,
        plausible_ml=plausible_ml,
        intracranial_ml=intracranial_ml,
        cautions=list(cautions),
    )
    quality = pe.Node(assess, name="quality", n_procs=num_threads, mem_gb=mem_gb)
    desc = DESC + (EXPECTED_DICE if expected_dice else "")
    return init_stage_wf(name, quality, ["source_file", *IMAGES], ["out_quality", "notes"], desc)
