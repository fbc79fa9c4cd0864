"""Precomputed inputs: workflows that replace a stage, with its name and its outputs."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ...interfaces.io.precomputed import PrecomputedMask, PrecomputedSegmentation, PrecomputedTissues
from .. import segmentation, skullstrip
from ..common.base import init_stage_wf

MASK_DESC = "The brain masks were precomputed and used unchanged. "
SEGMENTATION_DESC = "The segmentation into structures was precomputed and used unchanged. "
TISSUE_DESC = "Labels and probabilities of the tissues were precomputed and used unchanged. "


def init_precomputed_mask_wf(
    *,
    mask: str,
    name: str = "skullstrip_wf",
    mode: str = "auto",
    population: str = "adult",
    plausible_ml: tuple[float, float] = (100.0, 2600.0),
    region: bool = True,
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Use a precomputed brain mask.

    Parameters
    ----------
    mask : str
        The precomputed mask.
    name : str
        Name of the workflow.
    mode : {'auto', 'skip', 'force'}
        Whether the image has no skull: detect it, yes, or no.
    population : str
        Population of the brain.
    plausible_ml : tuple of float
        Plausible volumes (mL) of the brain; other volumes get a note.
    region : bool
        Whether a segmentation needs the fluid around the mask.
    mem_gb : float
        Memory (GB) of the node.

    Inputs
    ------
    source_file, in_file : str
        Image in the dataset, and conformed, shape (X, Y, Z).

    Outputs
    -------
    out_mask, out_region, out_place, stripped, misfit, mask_source, notes
        As of :func:`brainseg.workflows.skullstrip.init_skullstrip_wf`.
    """
    node = pe.Node(
        PrecomputedMask(
            in_precomputed=mask, mode=mode, population=population, plausible_ml=plausible_ml, region=region
        ),
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
    """Use a precomputed segmentation.

    Parameters
    ----------
    structures : str
        Image of the structures, FreeSurfer ids.
    probabilities : list of str, optional
        Probabilities of GM, WM and CSF.
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    mem_gb : float
        Memory (GB) of the node.

    Inputs
    ------
    source_file, in_file, in_mask : str
        Image in the dataset, bias-corrected image and brain mask, shape (X, Y, Z).

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
    """Replace the tissues of a segmentation by precomputed ones; the structures stay.

    Parameters
    ----------
    segmentation_wf : LiterateWorkflow
        Segmentation stage.
    dseg : str
        Image of the tissues: 1 gray matter, 2 white matter, 3 cerebrospinal fluid.
    probabilities : list of str
        Probabilities of GM, WM and CSF.
    mem_gb : float
        Memory (GB) of the node.

    Outputs
    -------
    out_dseg
        Precomputed tissues on the grid of the image; the other outputs are those of the segmentation.
    """
    workflow = LiterateWorkflow(segmentation_wf.name)
    workflow.__desc__ = TISSUE_DESC
    inner = segmentation_wf.clone("computed_wf")
    inputs = list(inner.get_node("inputnode").inputs.copyable_trait_names())
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
