"""The workflow of one participant-session: a chain of stages and the table of their connections."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from .common.base import Connection, connect_stages
from .common.brainmask import init_brainmask_wf
from .common.parameters import ParticipantInputs, ProcessingOptions, Resources
from .stages import BUILDERS, Plan, build_conform, build_skullstrip

DESC = """\
Anatomical images were processed with *brainseg-bids*, a BIDS App (Gorgolewski et al., 2017, \
doi:10.1371/journal.pcbi.1005209) built on *Nipype* (Gorgolewski et al., 2011, \
doi:10.3389/fninf.2011.00013). """

OUTPUTS = ("out_files", "notes", "stripped")

CORE = (
    "conform",
    "skullstrip",
    "bias",
    "segmentation",
    "growth",
    "registration",
    "quality",
    "outputs",
)
"""Stages that every image passes, in their order."""

CONNECTIONS: tuple[Connection, ...] = (
    *(("inputnode", "source_file", stage, "source_file") for stage in CORE),
    ("conform", "out_file", "skullstrip", "in_file"),
    ("conform", "out_file", "bias", "in_file"),
    ("skullstrip", "out_mask", "bias", "in_mask"),
    ("skullstrip", "out_mask", "segmentation", "in_mask"),
    ("bias", "out_file", "segmentation", "in_file"),
    ("segmentation", "out_measures", "growth", "in_measures"),
    ("segmentation", "out_structures", "registration", "in_structures"),
    ("segmentation", "out_probabilities", "registration", "in_probabilities"),
    ("growth", "out_measures", "registration", "in_measures"),
    ("skullstrip", "out_mask", "registration", "in_mask"),
    ("bias", "out_file", "registration", "in_file"),
    ("conform", "out_file", "quality", "in_conformed"),
    ("skullstrip", "out_mask", "quality", "in_mask"),
    ("skullstrip", "stripped", "quality", "stripped"),
    ("skullstrip", "misfit", "quality", "misfit"),
    ("conform", "caution", "quality", "caution"),
    ("bias", "out_file", "quality", "in_file"),
    ("segmentation", "out_structures", "quality", "in_structures"),
    ("segmentation", "out_measures", "quality", "in_measures"),
    ("segmentation", "out_probabilities", "quality", "in_probabilities"),
    ("registration", "out_transform", "quality", "in_transform"),
    ("quality", "out_quality", "outputs", "in_quality"),
    ("quality", "notes", "outputs", "quality_notes"),
    ("conform", "notes", "outputs", "conform_notes"),
    ("skullstrip", "out_mask", "outputs", "in_mask"),
    ("skullstrip", "stripped", "outputs", "stripped"),
    ("skullstrip", "mask_source", "outputs", "mask_source"),
    ("skullstrip", "notes", "outputs", "skullstrip_notes"),
    ("bias", "out_file", "outputs", "in_preproc"),
    ("segmentation", "out_structures", "outputs", "in_structures"),
    ("segmentation", "out_tissue", "outputs", "in_tissue"),
    ("growth", "out_measures", "outputs", "in_measures"),
    ("growth", "notes", "outputs", "growth_notes"),
    ("segmentation", "notes", "outputs", "segmentation_notes"),
    ("registration", "out_transforms", "outputs", "in_alignments"),
    ("registration", "notes", "outputs", "registration_notes"),
)
"""Connections that every workflow has."""

OPTIONAL: dict[str, tuple[Connection, ...]] = {
    "intracranial": (
        ("inputnode", "source_file", "intracranial", "source_file"),
        ("conform", "out_file", "intracranial", "in_file"),
        ("skullstrip", "out_mask", "intracranial", "in_mask"),
        ("skullstrip", "out_place", "intracranial", "in_place"),
        ("skullstrip", "stripped", "intracranial", "stripped"),
        ("intracranial", "out_measures", "quality", "in_intracranial"),
        ("intracranial", "out_mask", "outputs", "in_intracranial_mask"),
        ("intracranial", "out_measures", "outputs", "in_intracranial"),
        ("intracranial", "notes", "outputs", "intracranial_notes"),
    ),
    "fluid around the brain": (("skullstrip", "out_region", "segmentation", "in_region"),),
    "precomputed tissues": (("segmentation", "out_dseg", "outputs", "in_dseg"),),
    "corrected orientation": (("conform", "reoriented", "outputs", "reoriented"),),
    "corrected grid": (("conform", "out_file", "outputs", "grid_file"),),
    "averaged images": (
        ("conform", "out_file", "outputs", "grid_file"),
        ("conform", "out_runs", "outputs", "in_runs"),
    ),
    "hippocampus": (
        ("inputnode", "source_file", "hippocampus", "source_file"),
        ("bias", "out_file", "hippocampus", "in_file"),
        ("segmentation", "out_structures", "hippocampus", "in_structures"),
        ("segmentation", "out_measures", "hippocampus", "in_measures"),
        ("hippocampus", "out_file", "outputs", "in_hippocampus"),
        ("hippocampus", "out_volumes", "outputs", "in_hippocampus_volumes"),
        ("hippocampus", "notes", "outputs", "hippocampus_notes"),
    ),
    "own labels": (
        ("inputnode", "source_file", "own_labels", "source_file"),
        ("skullstrip", "out_mask", "own_labels", "in_mask"),
        ("own_labels", "out_file", "outputs", "in_labels"),
        ("own_labels", "out_volumes", "outputs", "in_label_volumes"),
        ("own_labels", "notes", "outputs", "own_labels_notes"),
    ),
    "own labels of corrected images": (("bias", "out_file", "own_labels", "in_file"),),
    "own labels of images as acquired": (("conform", "out_file", "own_labels", "in_file"),),
    "contrasts of own labels": (("coregistration", "out_files", "own_labels", "in_others"),),
    "contrasts of own labels as acquired": (
        ("coregistration", "out_uncorrected", "own_labels", "in_others"),
    ),
    "tissues that own labels see": (
        ("segmentation", "out_structures", "own_labels", "in_structures"),
        ("segmentation", "out_probabilities", "own_labels", "in_probabilities"),
    ),
    "tissues of own labels": (
        ("own_labels", "out_dseg", "outputs", "in_dseg"),
        ("own_labels", "out_probabilities", "outputs", "in_probabilities"),
    ),
    "tissues of the structures": (("segmentation", "out_probabilities", "outputs", "in_probabilities"),),
    "atlases": (
        ("inputnode", "source_file", "parcellation", "source_file"),
        ("segmentation", "out_structures", "parcellation", "in_structures"),
        ("registration", "out_transforms", "parcellation", "in_alignments"),
        ("parcellation", "out_files", "outputs", "in_parcels"),
        ("parcellation", "out_tables", "outputs", "in_parcel_tables"),
        ("parcellation", "notes", "outputs", "parcellation_notes"),
    ),
    "atlases in own tissues": (("own_labels", "out_probabilities", "parcellation", "in_probabilities"),),
    "atlases in tissues": (("segmentation", "out_probabilities", "parcellation", "in_probabilities"),),
    "lesion": (
        ("inputnode", "source_file", "lesion", "source_file"),
        ("skullstrip", "out_mask", "lesion", "in_mask"),
    ),
    "lesion beside bright CSF": (("segmentation", "out_structures", "lesion", "in_structures"),),
    "lesion in the reference image": (("conform", "out_file", "lesion", "in_file"),),
    "contrasts of lesions": (
        ("conform", "out_file", "lesion_contrasts", "in1"),
        ("coregistration", "out_uncorrected", "lesion_contrasts", "in2"),
        ("lesion_contrasts", "out", "lesion", "in_images"),
    ),
    "lesion results": (
        ("lesion", "out_file", "lesion_results", "in1"),
        ("lesion", "out_probability", "lesion_results", "in2"),
        ("lesion", "out_lesions", "lesion_results", "in3"),
        ("lesion_results", "out", "outputs", "in_lesions"),
    ),
    "lesion notes": (("lesion", "notes", "outputs", "lesion_notes"),),
    "other contrasts": (
        ("inputnode", "source_file", "coregistration", "source_file"),
        ("conform", "out_file", "coregistration", "in_file"),
        ("skullstrip", "out_mask", "coregistration", "in_mask"),
        ("coregistration", "out_files", "outputs", "in_files"),
        ("coregistration", "out_natives", "outputs", "in_natives"),
        ("coregistration", "out_transforms", "outputs", "in_transforms"),
        ("coregistration", "notes", "outputs", "coregistration_notes"),
    ),
    "lesion in another contrast": (
        ("coregistration", "out_uncorrected", "lesion_image", "inlist"),
        ("lesion_image", "out", "lesion", "in_file"),
    ),
}
"""Connections that a workflow adds under a condition (:func:`select_connections`)."""


def init_participant_wf(
    *,
    name: str,
    inputs: ParticipantInputs,
    options: ProcessingOptions | None = None,
    resources: Resources | None = None,
) -> LiterateWorkflow:
    """Process one anatomical image, from the dataset to derivatives.

    Parameters
    ----------
    name : str
        Name of the workflow.
    inputs : ParticipantInputs
        The image and what belongs to it.
    options : ProcessingOptions, optional
        Options of the processing.
    resources : Resources, optional
        Device, threads and memory.

    Outputs
    -------
    out_files : list of str
        Files written.
    notes : list of str
        Notes of all stages.
    stripped : bool
        Whether the image has no skull.

    Raises
    ------
    UsageError
        If the population is unknown.
    MissingFileError
        If its networks are not installed.
    """
    plan = Plan(inputs, options or ProcessingOptions(), resources or Resources())
    if plan.mask_only:
        stages = {"conform_wf": build_conform(plan), "skullstrip_wf": build_skullstrip(plan)}
        return init_brainmask_wf(name=name, inputs=inputs, reason=plan.mask_only, **stages)
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = DESC
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    inputnode.inputs.source_file = inputs.source_file
    outputnode = pe.Node(IdentityInterface(list(OUTPUTS)), name="outputnode")
    connections = select_connections(plan)
    names = {stage for source, _, target, _ in connections for stage in (source, target)}
    nodes = {stage: build(plan) for stage, build in BUILDERS.items() if stage in names}
    connect_stages(workflow, nodes | {"inputnode": inputnode}, connections)
    connect_stages(
        workflow, nodes | {"outputnode": outputnode}, [("outputs", n, "outputnode", n) for n in OUTPUTS]
    )
    return workflow


def select_connections(plan: Plan) -> list[Connection]:
    """Return the connections of a participant-session.

    Parameters
    ----------
    plan : Plan
        Its parameters.

    Returns
    -------
    list of tuple
        Rows of source stage, output, target stage and input, in the order in which the stages are added.
    """
    lesion, other = plan.options.lesion, bool(plan.inputs.other_contrasts)
    atlases = bool(plan.atlases)
    own, acquired = bool(plan.record.own_labels), plan.own_acquired
    wanted = {
        "intracranial": bool(plan.record.intracranial),
        "fluid around the brain": bool(plan.record.t1w_mask) and "structures" not in plan.inputs.precomputed,
        "precomputed tissues": "dseg" in plan.inputs.precomputed,
        "own labels": own,
        "own labels of corrected images": own and not acquired,
        "own labels of images as acquired": acquired,
        "contrasts of own labels": other and plan.own_contrasts and not acquired,
        "contrasts of own labels as acquired": other and plan.own_contrasts and acquired,
        "tissues that own labels see": plan.own_sees_tissues,
        "tissues of own labels": plan.own_tissues,
        "tissues of the structures": not plan.own_tissues,
        "corrected orientation": bool(plan.options.reorient),
        "corrected grid": bool(plan.options.reorient) and not plan.inputs.averaged,
        "averaged images": bool(plan.inputs.averaged),
        "hippocampus": plan.options.hippocampus,
        "atlases": atlases,
        "atlases in own tissues": atlases and plan.own_tissues,
        "atlases in tissues": atlases and not plan.own_tissues,
        "lesion": lesion,
        "lesion beside bright CSF": plan.lesions_beside_csf,
        "lesion in the reference image": lesion and not plan.lesion_number,
        "contrasts of lesions": plan.lesion_contrasts,
        "lesion results": plan.segments_lesions,
        "lesion notes": lesion,
        "other contrasts": other,
        "lesion in another contrast": lesion and plan.lesion_number > 0,
    }
    return [*CONNECTIONS, *(row for part, rows in OPTIONAL.items() if wanted[part] for row in rows)]
