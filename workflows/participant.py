"""The chain of one participant (or session), on one screen."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nipype.interfaces.utility import IdentityInterface, Merge, Select
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import unusable
from ..interfaces.lesion import shown_in, skipped
from ..models.networks import zoo
from ..models.population import labels, populations
from ..models.population.populations import Population
from ..models.preprocessing.thick_slices import too_coarse
from ..models.templates import spaces
from .bias import init_bias_wf
from .brainmask import init_brainmask_wf
from .conform import init_conform_wf
from .coregistration import init_coregistration_wf
from .growth import init_growth_wf
from .hippocampus import init_hippocampus_wf
from .lesion import init_lesion_wf
from .outputs import init_outputs_wf
from .precomputed import init_given_mask_wf, init_given_segmentation_wf, with_given_tissues
from .quality import init_quality_wf
from .registration import init_registration_wf
from .segmentation import init_segmentation_wf
from .skullstrip import init_skullstrip_wf

MEMORY = {
    "conform": (0.4, 0.4),
    "skullstrip": (0.8, 1.6),
    "bias": (0.8, 2.4),
    "segmentation": (1.2, 1.4),
    "registration": (1.6, 0.4),
    "hippocampus": (0.8, 1.0),
    "lesion": (0.9, 1.0),
    "quality": (0.9, 1.0),
    "outputs": (0.8, 1.3),
}
"""Memory (GB) of each stage's process, measured: whatever the image, and more for each 256^3 voxels of it."""

LOOK = (
    "The run was stopped after the brain mask, as asked for. If the mask is wrong, save a corrected one "
    "beside it as *_desc-corrected_mask.nii.gz; then run again without --stop-after."
)

SLOPPY_SHRINK = 8
"""Thinning of the grid on which the bias field is estimated, where it needs not be good."""

DESC = """\
Anatomical images were processed with *brainseg-bids*, a BIDS App (Gorgolewski et al., 2017, \
doi:10.1371/journal.pcbi.1005209) built on *Nipype* (Gorgolewski et al., 2011, \
doi:10.3389/fninf.2011.00013). """


def init_participant_wf(
    *,
    name: str,
    source_file: str,
    bids_root: str,
    out_dir: str,
    key: str,
    population: str = "adult",
    age: float | None = None,
    skull_strip: str = "auto",
    accurate: bool = False,
    averaged: list[str] | None = None,
    beside: list[str] | None = None,
    given: dict[str, str] | None = None,
    given_uris: dict[str, str] | None = None,
    flavor: str = "fmriprep",
    leave_out: list[str] | None = None,
    label_table: str | None = None,
    hippocampus: bool = False,
    lesion: bool = False,
    sloppy: bool = False,
    output_spaces: tuple[str, ...] = (spaces.DEFAULT,),
    engine: str = "deep",
    stop_after: str | None = None,
    refine: int | None = None,
    device: str = "cpu",
    num_threads: int = 2,
    mem_gb: float = 5.0,
) -> LiterateWorkflow:
    """Process one anatomical image, from the dataset to derivatives.

    Parameters
    ----------
    name : str
        Name of the workflow.
    source_file : str
        The scan.
    bids_root, out_dir : str
        Its dataset and the derivatives' root.
    key : str
        The unit, such as ``sub-01_ses-02``.
    population : str
        Whose brain it is; it decides which networks are used.
    age : float, optional
        Age in the population's unit; where it is not known and the population's growth is, it is estimated.
    skull_strip : {'auto', 'skip', 'force'}
        What to do with a scan without skull.
    accurate : bool
        Whether the segmenting network also looks at the mirror image.
    averaged : list of str, optional
        Scans whose average takes the place of ``source_file``.
    beside : list of str, optional
        Scans of other contrasts that are brought to it.
    given, given_uris : dict of str to str, optional
        Results that others computed and that are used in place of computing them, and their BIDS URIs:
        ``mask``, ``structures``, ``dseg`` with ``GM``, ``WM`` and ``CSF``, ``forward:SPACE`` with
        ``inverse:SPACE``.
    flavor : {'fmriprep', 'nibabies', 'both'}
        For whom the results are named.
    leave_out : list of str, optional
        Steps that are off: ``posteriors``, ``template-outputs``.
    label_table : str, optional
        Label table of the structures in place of the population's own.
    hippocampus : bool
        Whether the parts of the hippocampus are told apart.
    lesion : bool
        Whether lesions are looked for, in the FLAIR image or else the T2w image that there is.
    sloppy : bool
        Fast and coarse, for trying; the results are marked.
    output_spaces : tuple of str
        Templates as a user writes them; quality is judged in the first.
    engine, refine : str, int
        What registers, and its steps at the finest level.
    stop_after : str, optional
        ``skullstrip`` if a person wants to look at the brain masks first.
    device : str
        Where the networks run.
    num_threads : int
        Threads of one node.
    mem_gb : float
        Memory (GB) that there is; no node declares more.

    Outputs
    -------
    out_files
        Everything that was written.
    notes
        What a reader of the results should know.
    stripped
        Whether the scan came without a skull.

    Raises
    ------
    UsageError
        If there is no such population.
    MissingFileError
        If its networks are not installed.
    """
    record = populations.load(population)
    coarse, skull, brain = spacings(record)
    need = {stage: min(gb, mem_gb) for stage, gb in memory(source_file).items()}
    run, network = {"num_threads": num_threads}, {"num_threads": num_threads, "device": device}

    given = given or {}
    images = [source_file, *(beside or [])]
    which = shown_in([_suffix(path) for path in images])
    shows = _suffix(images[which or 0])
    label_table = label_table or record.labels
    conform_wf = init_conform_wf(averaged=averaged, sloppy=sloppy, mem_gb=need["conform"])
    if "mask" in given:
        skullstrip_wf = init_given_mask_wf(
            given=given["mask"], mode=skull_strip, plausible_ml=record.brain_ml, mem_gb=need["skullstrip"]
        )
    else:
        skullstrip_wf = init_skullstrip_wf(
            mode=skull_strip,
            model=record.skullstrip,
            coarse_model=record.coarse,
            plausible_ml=record.brain_ml,
            spacing=(coarse, skull),
            mem_gb=need["skullstrip"],
            **network,
        )
    coarse_scan = too_coarse(source_file, record)
    if coarse_scan or stop_after == "skullstrip":
        return init_brainmask_wf(
            name=name,
            source_file=source_file,
            bids_root=bids_root,
            out_dir=out_dir,
            key=key,
            why=coarse_scan or LOOK,
            conform_wf=conform_wf,
            skullstrip_wf=skullstrip_wf,
        )
    bias_wf = init_bias_wf(shrink=SLOPPY_SHRINK if sloppy else 4, mem_gb=need["bias"], **run)
    probabilities = [given[tissue] for tissue in ("GM", "WM", "CSF") if tissue in given]
    if "structures" in given:
        segmentation_wf = init_given_segmentation_wf(
            structures=given["structures"],
            probabilities=probabilities,
            label_table=label_table,
            mem_gb=need["segmentation"],
        )
    else:
        segmentation_wf = init_segmentation_wf(
            model=record.segmentation,
            coarse_model=record.coarse,
            structures=len(labels.load(label_table).labels) - 1,
            label_table=label_table,
            spacing=(coarse, brain),
            accurate=accurate,
            shapes=has_shapes(record),
            mem_gb=need["segmentation"],
            **network,
        )
    if "dseg" in given:
        segmentation_wf = with_given_tissues(
            segmentation_wf, dseg=given["dseg"], probabilities=probabilities, mem_gb=need["outputs"]
        )
    growth_wf = init_growth_wf(population=population, age=age)
    registration_wf = init_registration_wf(
        templates=output_spaces,
        engine=engine,
        refine=refine,
        networks=record.networks,
        velocity=record.velocity,
        population=population,
        given=_transforms(given, given_uris or {}),
        mem_gb=need["registration"],
        **network,
    )
    quality_wf = init_quality_wf(
        label_table=label_table,
        plausible_ml=record.brain_ml,
        mem_gb=need["quality"],
    )
    outputs_wf = init_outputs_wf(
        bids_root=bids_root,
        out_dir=out_dir,
        key=key,
        label_table=label_table,
        averaged=averaged,
        beside=beside,
        given=given_uris,
        flavor=flavor,
        leave_out=leave_out,
        hippocampus=hippocampus,
        lesion=lesion and not skipped(shows, record.lesion),
        sloppy=sloppy,
        mem_gb=need["outputs"],
        **run,
    )

    workflow = LiterateWorkflow(name)
    workflow.__desc__ = DESC
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    inputnode.inputs.source_file = source_file
    outputnode = pe.Node(IdentityInterface(["out_files", "notes", "stripped"]), name="outputnode")
    for stage in (
        conform_wf,
        skullstrip_wf,
        bias_wf,
        segmentation_wf,
        growth_wf,
        registration_wf,
        quality_wf,
        outputs_wf,
    ):
        workflow.connect(inputnode, "source_file", stage, "inputnode.source_file")

    def link(source: LiterateWorkflow, target: LiterateWorkflow, **fields: str) -> None:
        """Connect outputs of a stage with inputs of another."""
        pairs = [(f"outputnode.{a}", f"inputnode.{b}") for a, b in fields.items()]
        workflow.connect([(source, target, pairs)])

    link(conform_wf, skullstrip_wf, out_file="in_file")
    link(conform_wf, bias_wf, out_file="in_file")
    link(skullstrip_wf, bias_wf, out_mask="in_mask")
    link(skullstrip_wf, segmentation_wf, out_mask="in_mask")
    link(bias_wf, segmentation_wf, out_file="in_file")
    link(segmentation_wf, growth_wf, out_measures="in_measures")
    link(segmentation_wf, registration_wf, out_structures="in_structures")
    link(segmentation_wf, registration_wf, out_probabilities="in_probabilities")
    link(growth_wf, registration_wf, out_measures="in_measures")
    link(skullstrip_wf, registration_wf, out_mask="in_mask")
    link(bias_wf, registration_wf, out_file="in_file")
    link(conform_wf, quality_wf, out_file="in_scan")
    link(skullstrip_wf, quality_wf, out_mask="in_mask", stripped="stripped")
    link(bias_wf, quality_wf, out_file="in_file")
    link(segmentation_wf, quality_wf, out_structures="in_structures", out_measures="in_measures")
    link(segmentation_wf, quality_wf, out_probabilities="in_probabilities")
    link(registration_wf, quality_wf, out_transform="in_transform")
    link(quality_wf, outputs_wf, out_quality="in_quality", notes="quality_notes")
    link(conform_wf, outputs_wf, notes="conform_notes")
    link(skullstrip_wf, outputs_wf, out_mask="in_mask", stripped="stripped", notes="skullstrip_notes")
    link(bias_wf, outputs_wf, out_file="in_preproc")
    link(segmentation_wf, outputs_wf, out_structures="in_structures", out_tissue="in_tissue")
    link(segmentation_wf, outputs_wf, out_probabilities="in_probabilities")
    link(growth_wf, outputs_wf, out_measures="in_measures", notes="growth_notes")
    link(segmentation_wf, outputs_wf, notes="segmentation_notes")
    link(registration_wf, outputs_wf, out_transforms="in_alignments", notes="registration_notes")
    if "dseg" in given:
        link(segmentation_wf, outputs_wf, out_dseg="in_dseg")
    if averaged:
        link(conform_wf, outputs_wf, out_file="grid_file", out_runs="in_runs")
    if hippocampus:
        hippocampus_wf = init_hippocampus_wf(
            model=record.hippocampus, contrast=_suffix(source_file), mem_gb=need["hippocampus"], **network
        )
        workflow.connect(inputnode, "source_file", hippocampus_wf, "inputnode.source_file")
        link(bias_wf, hippocampus_wf, out_file="in_file")
        link(segmentation_wf, hippocampus_wf, out_structures="in_structures", out_measures="in_measures")
        link(hippocampus_wf, outputs_wf, out_file="in_hippocampus", out_volumes="in_hippocampus_volumes")
        link(hippocampus_wf, outputs_wf, notes="hippocampus_notes")
    if lesion:
        lesion_wf = init_lesion_wf(
            model=record.lesion, image=images[which or 0], mem_gb=need["lesion"], **network
        )
        workflow.connect(inputnode, "source_file", lesion_wf, "inputnode.source_file")
        link(skullstrip_wf, lesion_wf, out_mask="in_mask")
        if not which:
            link(bias_wf, lesion_wf, out_file="in_file")
        if not skipped(shows, record.lesion):
            together = pe.Node(Merge(3), name="lesions", run_without_submitting=True)
            made = ("out_file", "out_probability", "out_lesions")
            workflow.connect(
                [
                    (lesion_wf, together, [(f"outputnode.{n}", f"in{k}") for k, n in enumerate(made, 1)]),
                    (together, outputs_wf, [("out", "inputnode.in_lesions")]),
                ]
            )
        link(lesion_wf, outputs_wf, notes="lesion_notes")
    if beside:
        coregistration_wf = init_coregistration_wf(
            beside=beside,
            reference=_suffix(source_file),
            unit="session" if "_ses-" in key else "participant",
            sloppy=sloppy,
            mem_gb=need["bias"],
            **run,
        )
        workflow.connect(inputnode, "source_file", coregistration_wf, "inputnode.source_file")
        link(conform_wf, coregistration_wf, out_file="in_file")
        link(skullstrip_wf, coregistration_wf, out_mask="in_mask")
        link(coregistration_wf, outputs_wf, out_files="in_files", out_natives="in_natives")
        link(coregistration_wf, outputs_wf, out_transforms="in_transforms", notes="coregistration_notes")
        if lesion and which:
            chosen = pe.Node(Select(index=[which - 1]), name="shows_lesions", run_without_submitting=True)
            workflow.connect(coregistration_wf, "outputnode.out_files", chosen, "inlist")
            workflow.connect(chosen, "out", lesion_wf, "inputnode.in_file")
    results = [(f"outputnode.{n}", n) for n in ("out_files", "notes", "stripped")]
    workflow.connect([(outputs_wf, outputnode, results)])
    return workflow


def spacings(record: Population) -> list[float]:
    """Voxel sizes (mm) of a population's networks, from their cards.

    Raises
    ------
    MissingFileError
        If they are not installed.
    """
    try:
        return [float(zoo.read_card(name)["spacing"]) for name in record.networks]
    except zoo.ModelError as error:
        raise unusable(error) from error


def _suffix(source_file: str) -> str:
    """BIDS suffix of a scan, such as ``T1w``."""
    return source_file.split(".")[0].rpartition("_")[2]


def _transforms(given: dict[str, str], uris: dict[str, str]) -> dict[str, dict[str, str]]:
    """Given transforms by the label of their space."""
    labels = {role.partition(":")[2] for role in given if ":" in role}
    return {
        label: {way: given[f"{way}:{label}"] for way in ("forward", "inverse")}
        | {f"{way}_uri": uris[f"{way}:{label}"] for way in ("forward", "inverse")}
        for label in labels
    }


def memory(source_file: str) -> dict[str, float]:
    """Memory (GB) that each stage needs for a scan."""
    try:
        size = float(np.prod(nib.load(source_file).shape[:3])) / 256**3
    except Exception:  # conform will say what is wrong with it
        size = 1.0
    return {stage: round(fixed + more * size, 2) for stage, (fixed, more) in MEMORY.items()}


def has_shapes(record: Population) -> bool:
    """Whether an atlas takes part in a population's segmentation."""
    try:
        return "atlas" in zoo.read_card(record.segmentation)
    except zoo.ModelError:
        return False
