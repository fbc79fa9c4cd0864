"""Given results: they stand in for the stage that would compute them, under its name and with its outputs."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.io.precomputed import PrecomputedMask, PrecomputedSegmentation, PrecomputedTissues
from . import segmentation, skullstrip
from .common.base import init_stage_wf

MASK_DESC = "The brain masks were precomputed and used unchanged. "
SEGMENTATION_DESC = "The segmentation into structures was precomputed and used unchanged. "
TISSUE_DESC = "Labels and probabilities of the tissues were precomputed and used unchanged. "


def init_precomputed_mask_wf(
    *,
    mask: str,
    name: str = "skullstrip_wf",
    mode: str = "auto",
    plausible_ml: tuple[float, float] = (100.0, 2600.0),
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Take a brain mask in place of finding one.

    Parameters
    ----------
    mask : str
        The precomputed mask.
    name : str
        Name of the workflow.
    mode : {'auto', 'skip', 'force'}
        What is known of the scan's skull.
    plausible_ml : tuple of float
        Volumes (mL) that a brain can have; a mask of another is noted.
    mem_gb : float
        Memory (GB) of the node.

    Inputs
    ------
    source_file, in_file
        The scan as the dataset holds it, and conformed.

    Outputs
    -------
    out_mask, stripped, notes
        As of :func:`brainseg.workflows.skullstrip.init_skullstrip_wf`.
    """
    node = pe.Node(
        PrecomputedMask(in_precomputed=mask, mode=mode, plausible_ml=plausible_ml),
        name="given_mask",
        mem_gb=mem_gb,
    )
    return init_stage_wf(name, node, skullstrip.INPUTS, skullstrip.OUTPUTS, MASK_DESC)


def init_precomputed_segmentation_wf(
    *,
    structures: str,
    probabilities: list[str] | None = None,
    name: str = "segmentation_wf",
    label_table: str = "adult",
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Take a segmentation in place of computing one.

    Parameters
    ----------
    structures : str
        FreeSurfer ids.
    probabilities : list of str, optional
        Of GM, WM and CSF.
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    mem_gb : float
        Memory (GB) of the node.

    Inputs
    ------
    source_file, in_file, in_mask
        The scan as the dataset holds it, bias-corrected, and its brain.

    Outputs
    -------
    out_structures, out_tissue, out_probabilities, out_measures, notes
        As of :func:`brainseg.workflows.segmentation.init_segmentation_wf`.
    """
    interface = PrecomputedSegmentation(
        in_structures=structures, in_probabilities=probabilities or [], label_table=label_table
    )
    node = pe.Node(interface, name="given_segmentation", mem_gb=mem_gb)
    return init_stage_wf(name, node, segmentation.INPUTS, segmentation.OUTPUTS, SEGMENTATION_DESC)


def replace_tissues(
    segmentation_wf: LiterateWorkflow, *, dseg: str, probabilities: list[str], mem_gb: float = 2.0
) -> LiterateWorkflow:
    """The segmentation with its tissues replaced by given ones; its structures are computed all the same.

    Parameters
    ----------
    segmentation_wf : LiterateWorkflow
        The segmentation.
    dseg : str
        1 gray matter, 2 white matter, 3 cerebrospinal fluid.
    probabilities : list of str
        Of GM, WM and CSF.
    mem_gb : float
        Memory (GB) of the node.

    Outputs
    -------
    out_dseg
        The given tissues, beside those of the segmentation.
    """
    workflow = LiterateWorkflow(segmentation_wf.name)
    workflow.__desc__ = TISSUE_DESC
    inner = segmentation_wf.clone("computed_wf")
    inputs = ["source_file", "in_file", "in_mask"]
    inputnode = pe.Node(IdentityInterface(inputs), name="inputnode")
    outputnode = pe.Node(IdentityInterface([*segmentation.OUTPUTS, "out_dseg"]), name="outputnode")
    tissues = pe.Node(
        PrecomputedTissues(in_dseg=dseg, in_probabilities=probabilities), name="given_tissues", mem_gb=mem_gb
    )
    notes = pe.Node(Merge(2), name="notes", run_without_submitting=True)
    kept = [n for n in segmentation.OUTPUTS if n not in ("out_probabilities", "notes")]
    workflow.connect(
        [
            (inputnode, inner, [(n, f"inputnode.{n}") for n in inputs]),
            (inputnode, tissues, [(n, n) for n in ("source_file", "in_mask")]),
            (inner, outputnode, [(f"outputnode.{n}", n) for n in kept]),
            (inner, notes, [("outputnode.notes", "in1")]),
            (tissues, notes, [("notes", "in2")]),
            (notes, outputnode, [("out", "notes")]),
            (tissues, outputnode, [(n, n) for n in ("out_dseg", "out_probabilities")]),
        ]
    )
    return workflow
