"""Outputs: from what the stages found to derivatives."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.coregistration import WriteCoregistered
from ..interfaces.outputs import WriteDerivatives

DESC = """\
All results were brought back to the grid of the image by interpolating probabilities, and are stored as \
BIDS derivatives.
"""
IMAGES = (
    "in_preproc",
    "in_mask",
    "in_structures",
    "in_tissue",
    "in_probabilities",
    "in_measures",
    "in_alignments",
    "in_quality",
)
OPTIONAL = ("in_dseg", "in_runs", "grid_file", "in_hippocampus", "in_hippocampus_volumes", "in_lesions")
"""What only some units have."""

NOTES = (
    "conform_notes",
    "skullstrip_notes",
    "segmentation_notes",
    "growth_notes",
    "registration_notes",
    "coregistration_notes",
    "hippocampus_notes",
    "lesion_notes",
    "quality_notes",
)
"""Notes of the stages, in the order of the chain."""


def init_outputs_wf(
    *,
    bids_root: str,
    out_dir: str,
    key: str,
    name: str = "outputs_wf",
    label_table: str = "adult",
    averaged: list[str] | None = None,
    other_contrasts: list[str] | None = None,
    precomputed: dict[str, str] | None = None,
    flavor: str = "fmriprep",
    leave_out: list[str] | None = None,
    hippocampus: bool = False,
    lesion: bool = False,
    sloppy: bool = False,
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Write the derivatives of one unit.

    Parameters
    ----------
    bids_root, out_dir : str
        The dataset and the derivatives' root.
    key : str
        The unit, such as ``sub-01_ses-02``.
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    averaged, other_contrasts : list of str, optional
        Scans whose average the reference is, and those that were brought to it.
    precomputed : dict of str to str, optional
        BIDS URIs of results that others computed, by what they are.
    flavor : {'fmriprep', 'nibabies', 'both'}
        For whom the results are named.
    leave_out : list of str, optional
        Steps that are off: ``posteriors``, ``template-outputs``, ``jacobian``.
    hippocampus : bool
        Whether there may be parts of the hippocampus.
    lesion : bool
        Whether there are lesions' mask, probability and table.
    sloppy : bool
        Whether the results are for trying only, which their sidecars then say.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_preproc, in_mask, in_structures, in_tissue, in_probabilities, in_measures, in_alignments
        What the stages found.
    stripped
        Whether the scan came without a skull.
    in_dseg, in_runs, grid_file
        Given tissues, and of an averaged reference the scans' matrices and the average.
    in_hippocampus, in_hippocampus_volumes
        Parts of the hippocampus and their volumes.
    in_lesions
        Mask and probability of lesions, and JSON of each.
    in_files, in_natives, in_transforms, coregistration_notes
        Images of other contrasts, as :mod:`brainseg.workflows.coregistration` makes them.
    in_quality
        JSON of quality control; may be left out.
    conform_notes, skullstrip_notes, segmentation_notes, growth_notes, registration_notes
        What a reader of the results should know.
    hippocampus_notes, lesion_notes, quality_notes
        What a reader of the results should know.

    Outputs
    -------
    out_files
        Everything that was written.
    notes
        All the notes.
    stripped
        Whether the scan came without a skull.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = DESC
    wanted = ("dseg" in (precomputed or {}), averaged, averaged, hippocampus, hippocampus, lesion)
    optional = [n for n, there in zip(OPTIONAL, wanted, strict=True) if there]
    passed = ("source_file", "stripped", *IMAGES, *optional)
    brought = ("in_files", "in_natives", "in_transforms")
    inputnode = pe.Node(IdentityInterface([*passed, *NOTES, *brought]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_files", "notes", "stripped"]), name="outputnode")
    notes = pe.Node(Merge(len(NOTES)), name="notes", run_without_submitting=True)
    sink = WriteDerivatives(
        bids_root=bids_root,
        out_dir=out_dir,
        key=key,
        label_table=label_table,
        averaged=averaged or [],
        precomputed=precomputed or {},
        flavor=flavor,
        leave_out=["jacobian"] if leave_out is None else leave_out,
        sloppy=sloppy,
    )
    outputs = pe.Node(sink, name="outputs", n_procs=num_threads, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, notes, [(note, f"in{i}") for i, note in enumerate(NOTES, 1)]),
            (inputnode, outputs, [(n, n) for n in passed]),
            (notes, outputs, [("out", "notes")]),
            (outputs, outputnode, [(n, n) for n in ("notes", "stripped")]),
        ]
    )
    if not other_contrasts:
        workflow.connect(outputs, "out_files", outputnode, "out_files")
        return workflow
    others = pe.Node(
        WriteCoregistered(
            bids_root=bids_root, out_dir=out_dir, key=key, other_contrasts=other_contrasts, flavor=flavor
        ),
        name="coregistered",
        mem_gb=mem_gb,
    )
    everything = pe.Node(Merge(2), name="everything", run_without_submitting=True)
    workflow.connect(
        [
            (inputnode, others, [(n, n) for n in ("source_file", "stripped", *brought)]),
            # After the others, which sweep away what a killed run left.
            (outputs, others, [("out_files", "after")]),
            (outputs, everything, [("out_files", "in1")]),
            (others, everything, [("out_files", "in2")]),
            (everything, outputnode, [("out", "out_files")]),
        ]
    )
    return workflow
