"""Outputs: from the results of all stages to derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.coregistration import WriteCoregistered
from ..interfaces.outputs import WriteDerivatives, WriteQuality

DESC = """\
All results were brought back to the grid of the image by interpolating probabilities, and are stored as \
BIDS derivatives.
"""
VBM = """\
For voxel-based morphometry (Ashburner and Friston, 2000, doi:10.1006/nimg.2000.0582) the probabilities of \
gray and white matter were resampled to the template and multiplied by the Jacobian determinant of the \
transform. """
SMOOTHED = """These maps were smoothed by a Gaussian of {width:g} mm (full width at half maximum). """
IMAGES = (
    "in_preproc",
    "in_mask",
    "in_structures",
    "in_tissue",
    "in_probabilities",
    "in_measures",
    "in_alignments",
    "in_intracranial",
    "in_intracranial_mask",
)
OPTIONAL = (
    "in_dseg",
    "in_runs",
    "grid_file",
    "reoriented",
    "in_hippocampus",
    "in_hippocampus_volumes",
    "in_parcels",
    "in_parcel_tables",
    "in_lesions",
    "in_labels",
    "in_label_volumes",
)
"""Inputs that only some participant-sessions have."""

NOTES = (
    "conform_notes",
    "skullstrip_notes",
    "intracranial_notes",
    "segmentation_notes",
    "growth_notes",
    "registration_notes",
    "coregistration_notes",
    "hippocampus_notes",
    "parcellation_notes",
    "lesion_notes",
    "own_labels_notes",
)
"""Notes of the stages, in the order of the chain; those of the quality control are written with it."""


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
    smooth: float = 0.0,
    hippocampus: bool = False,
    maps: Mapping[str, str] | None = None,
    lesion: bool = False,
    networks: Mapping[str, str] | None = None,
    own_labels: bool = False,
    own_tissues: bool = False,
    reorient: bool = False,
    sloppy: bool = False,
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Write the derivatives of one participant-session.

    Parameters
    ----------
    bids_root, out_dir : str
        Roots of the dataset and of the derivatives.
    key : str
        The participant-session, such as ``sub-01_ses-02``.
    name : str
        Name of the workflow.
    label_table : str
        Label table of the structures.
    averaged, other_contrasts : list of str, optional
        Images whose average is the reference image, and images that were coregistered to it.
    precomputed : dict of str to str, optional
        BIDS URIs of precomputed inputs, by role.
    flavor : {'fmriprep', 'nibabies', 'both'}
        Naming of the derivatives.
    leave_out : list of str, optional
        Steps that are off: ``posteriors``, ``template-outputs``, ``jacobian``, ``vbm``.
    smooth : float
        Width (mm, full at half maximum) of the Gaussian that smooths the modulated maps; 0 for none.
    hippocampus : bool
        Whether the hippocampus stage runs.
    maps : mapping of str to str, optional
        Images that are measured in the parcels of atlases, by name; None if there are no atlases.
    lesion : bool
        Whether the lesion stage has a result.
    networks : mapping of str to str, optional
        Networks of the user by step.
    own_labels, own_tissues : bool
        Whether one of them segments labels of its own, and whether the tissues are theirs.
    reorient : bool
        Whether the orientation may be corrected.
    sloppy : bool
        Whether the processing was fast and coarse; the sidecars say so.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Reference image in the dataset.
    in_preproc, in_mask, in_structures, in_tissue : str
        Bias-corrected image, brain mask, structures and tissues on one grid, shape (X, Y, Z).
    in_probabilities : list of str
        Probabilities of GM, WM and CSF on the same grid.
    in_measures, in_quality : str
        JSON with volumes (mm3), centroids (mm) and age, and JSON of the quality control.
    in_alignments : list of str
        JSON of the registration to each output space.
    in_intracranial, in_intracranial_mask : str
        JSON with the intracranial volume (mm3) or the reason why there is none, and mask of the cranial
        cavity on the same grid; undefined if there is none.
    stripped : bool
        Whether the image has no skull.
    mask_source : str
        Network that made the mask, ``extent`` or ``precomputed``.
    in_dseg : str
        Tissues on the same grid that are not those of the structures.
    in_labels, in_label_volumes : str
        Labels of a network of the user on the same grid, and JSON with their volumes (mm3).
    in_runs, grid_file : str
        JSON with matrices of the averaged images, and their average or the reoriented image.
    reoriented : str
        Corrected orientation, such as ``RAS>LIA``; empty if unchanged.
    in_hippocampus, in_hippocampus_volumes : str
        Parts of the hippocampus on the same grid, and JSON with their volumes (mm3).
    in_parcels, in_parcel_tables : list of str
        Parcels of each atlas on the same grid, and JSON with their table.
    in_lesions : list of str
        Lesion mask, lesion probability, and JSON of the lesions.
    in_files, in_natives, in_transforms : list of str
        Coregistered images, as :func:`brainseg.workflows.coregistration.init_coregistration_wf` returns them.
    conform_notes, skullstrip_notes, intracranial_notes, segmentation_notes, growth_notes : list of str
        Notes of the stages.
    registration_notes : list of str
        Notes of the stages.
    coregistration_notes, hippocampus_notes, parcellation_notes, lesion_notes : list of str
        Notes of the stages.
    own_labels_notes, quality_notes : list of str
        Notes of the stages.

    Outputs
    -------
    out_files : list of str
        Files written.
    notes : list of str
        Notes of all stages.
    stripped : bool
        Whether the image has no skull.
    """
    workflow = LiterateWorkflow(name)
    vbm = leave_out is not None and not {"vbm", "template-outputs"} & set(leave_out)
    workflow.__desc__ = (VBM + (SMOOTHED.format(width=smooth) if smooth else "") if vbm else "") + DESC
    wanted = (
        own_tissues or "dseg" in (precomputed or {}),
        averaged,
        averaged or reorient,
        reorient,
        hippocampus,
        hippocampus,
        maps is not None,
        maps is not None,
        lesion,
        own_labels,
        own_labels,
    )
    optional = [n for n, there in zip(OPTIONAL, wanted, strict=True) if there]
    passed = ("source_file", "stripped", "mask_source", *IMAGES, *optional)
    brought = ("in_files", "in_natives", "in_transforms")
    judged = ("in_quality", "quality_notes")
    inputnode = pe.Node(IdentityInterface([*passed, *NOTES, *judged, *brought]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_files", "notes", "stripped"]), name="outputnode")
    notes = pe.Node(Merge(len(NOTES)), name="notes", run_without_submitting=True)
    named: dict[str, Any] = {"bids_root": bids_root, "out_dir": out_dir, "key": key, "flavor": flavor}
    described = named | {"averaged": averaged or [], "sloppy": sloppy}
    sink = WriteDerivatives(
        **described,
        label_table=label_table,
        precomputed=precomputed or {},
        maps=dict(maps or {}),
        networks=dict(networks or {}),
        leave_out=["jacobian", "vbm"] if leave_out is None else leave_out,
        smooth=smooth,
    )
    # One processor is left to the quality control, which runs beside and ends first.
    outputs = pe.Node(sink, name="outputs", n_procs=max(1, num_threads - 1), mem_gb=mem_gb)
    outputs.inputs.num_threads = num_threads
    workflow.connect(
        [
            (inputnode, notes, [(note, f"in{i}") for i, note in enumerate(NOTES, 1)]),
            (inputnode, outputs, [(n, n) for n in passed]),
            (notes, outputs, [("out", "notes")]),
            (outputs, outputnode, [("stripped", "stripped")]),
        ]
    )
    quality = pe.Node(WriteQuality(**described), name="quality_files", mem_gb=0.1)
    passed = ("source_file", "in_quality", *(["reoriented"] if reorient else []))
    workflow.connect(inputnode, "quality_notes", quality, "notes")
    workflow.connect([(inputnode, quality, [(n, n) for n in passed])])
    last = [quality]
    if other_contrasts:
        others = WriteCoregistered(**named, other_contrasts=other_contrasts)
        last.append(pe.Node(others, name="coregistered", mem_gb=mem_gb))
        passed = ("source_file", "stripped", *brought)
        workflow.connect([(inputnode, last[-1], [(n, n) for n in passed])])
    _join(workflow, outputs, last, outputnode)
    return workflow


def _join(workflow: LiterateWorkflow, outputs: pe.Node, last: list[pe.Node], outputnode: pe.Node) -> None:
    """Connect the files and notes of all nodes; the last ones wait, since the first sweeps away old files."""
    everything = pe.Node(Merge(1 + len(last)), name="everything", run_without_submitting=True)
    every_note = pe.Node(Merge(2), name="every_note", run_without_submitting=True)
    for number, node in enumerate([outputs, *last], 1):
        workflow.connect(node, "out_files", everything, f"in{number}")
        if node is not outputs:
            workflow.connect(outputs, "out_files", node, "after")
    workflow.connect(
        [
            (outputs, every_note, [("notes", "in1")]),
            (last[0], every_note, [("notes", "in2")]),
            (everything, outputnode, [("out", "out_files")]),
            (every_note, outputnode, [("out", "notes")]),
        ]
    )
