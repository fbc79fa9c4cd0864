"""Outputs: from what the stages found to derivatives."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.outputs import WriteDerivatives
from ..models import templates

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
    "in_transform",
)
NOTES = ("conform_notes", "skullstrip_notes", "segmentation_notes", "registration_notes")
"""Notes of the stages, in the order of the chain."""


def init_outputs_wf(
    *,
    bids_root: str,
    out_dir: str,
    key: str,
    name: str = "outputs_wf",
    template: str = templates.DEFAULT,
    label_table: str = "adult",
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
    template : str
        Name of the template.
    label_table : str
        Label table of the structures.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_preproc, in_mask, in_structures, in_tissue, in_probabilities, in_measures, in_transform
        What the stages found.
    stripped
        Whether the scan came without a skull.
    conform_notes, skullstrip_notes, segmentation_notes, registration_notes
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
    passed = ("source_file", "stripped", *IMAGES)
    inputnode = pe.Node(IdentityInterface([*passed, *NOTES]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_files", "notes", "stripped"]), name="outputnode")
    notes = pe.Node(Merge(len(NOTES)), name="notes", run_without_submitting=True)
    sink = WriteDerivatives(
        bids_root=bids_root, out_dir=out_dir, key=key, template=template, label_table=label_table
    )
    outputs = pe.Node(sink, name="outputs", n_procs=num_threads, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, notes, [(note, f"in{i}") for i, note in enumerate(NOTES, 1)]),
            (inputnode, outputs, [(n, n) for n in passed]),
            (notes, outputs, [("out", "notes")]),
            (outputs, outputnode, [(n, n) for n in ("out_files", "notes", "stripped")]),
        ]
    )
    return workflow
