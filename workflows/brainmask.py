"""The chain of a scan that is too coarse for more than its brain mask."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.brainmask import WriteMask


def init_brainmask_wf(
    *,
    name: str,
    source_file: str,
    bids_root: str,
    out_dir: str,
    key: str,
    why: str,
    conform_wf: LiterateWorkflow,
    skullstrip_wf: LiterateWorkflow,
) -> LiterateWorkflow:
    """Find the brain in one scan and write it, with the reason why there is no more.

    Parameters
    ----------
    name : str
        Name of the workflow.
    source_file : str
        The scan.
    bids_root, out_dir, key : str
        Its dataset, the derivatives' root, and the unit.
    why : str
        The reason, for the reader.
    conform_wf, skullstrip_wf : LiterateWorkflow
        The stages that it consists of.

    Outputs
    -------
    out_files, notes, stripped
        As those of the whole chain.
    """
    workflow = LiterateWorkflow(name)
    outputs = ["out_files", "notes", "stripped"]
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    inputnode.inputs.source_file = source_file
    outputnode = pe.Node(IdentityInterface(outputs), name="outputnode")
    notes = pe.Node(Merge(3), name="notes", run_without_submitting=True)
    notes.inputs.in1 = [why]
    sink = pe.Node(
        WriteMask(bids_root=bids_root, out_dir=out_dir, key=key), name="outputs", n_procs=1, mem_gb=0.8
    )
    for stage in (conform_wf, skullstrip_wf):
        workflow.connect(inputnode, "source_file", stage, "inputnode.source_file")
    workflow.connect(
        [
            (inputnode, sink, [("source_file", "source_file")]),
            (conform_wf, skullstrip_wf, [("outputnode.out_file", "inputnode.in_file")]),
            (conform_wf, notes, [("outputnode.notes", "in2")]),
            (skullstrip_wf, notes, [("outputnode.notes", "in3")]),
            (skullstrip_wf, sink, [("outputnode.out_mask", "in_mask"), ("outputnode.stripped", "stripped")]),
            (notes, sink, [("out", "notes")]),
            (sink, outputnode, [(n, n) for n in outputs]),
        ]
    )
    return workflow
