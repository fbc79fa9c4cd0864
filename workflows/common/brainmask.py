"""The workflow that ends with the brain mask."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ...interfaces.io.brainmask import WriteMask
from .base import connect_stages
from .parameters import ParticipantInputs

OUTPUTS = ("out_files", "notes", "stripped")


def init_brainmask_wf(
    *,
    name: str,
    inputs: ParticipantInputs,
    reason: str,
    conform_wf: LiterateWorkflow,
    skullstrip_wf: LiterateWorkflow,
) -> LiterateWorkflow:
    """Write the brain mask of one image, and the reason why there are no other results.

    Parameters
    ----------
    name : str
        Name of the workflow.
    inputs : ParticipantInputs
        The image and what belongs to it.
    reason : str
        The reason, as a note.
    conform_wf, skullstrip_wf : LiterateWorkflow
        The first two stages.

    Outputs
    -------
    out_files : list of str
        Files written.
    notes : list of str
        The reason, and notes of the stages.
    stripped : bool
        Whether the image has no skull.
    """
    workflow = LiterateWorkflow(name)
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    inputnode.inputs.source_file = inputs.source_file
    outputnode = pe.Node(IdentityInterface(list(OUTPUTS)), name="outputnode")
    notes = pe.Node(Merge(3), name="notes", run_without_submitting=True)
    notes.inputs.in1 = [reason]
    sink = WriteMask(bids_root=inputs.bids_root, out_dir=inputs.out_dir, key=inputs.key)
    outputs = pe.Node(sink, name="outputs", n_procs=1, mem_gb=0.8)
    nodes = {"inputnode": inputnode, "outputnode": outputnode, "notes": notes, "outputs": outputs}
    stages = {"conform": conform_wf, "skullstrip": skullstrip_wf}
    connections = [
        ("inputnode", "source_file", "conform", "source_file"),
        ("inputnode", "source_file", "skullstrip", "source_file"),
        ("inputnode", "source_file", "outputs", "source_file"),
        ("conform", "out_file", "skullstrip", "in_file"),
        ("conform", "notes", "notes", "in2"),
        ("skullstrip", "notes", "notes", "in3"),
        ("skullstrip", "out_mask", "outputs", "in_mask"),
        ("skullstrip", "stripped", "outputs", "stripped"),
        ("skullstrip", "mask_source", "outputs", "mask_source"),
        ("notes", "out", "outputs", "notes"),
        *(("outputs", field, "outputnode", field) for field in OUTPUTS),
    ]
    connect_stages(workflow, nodes | stages, connections)
    return workflow
