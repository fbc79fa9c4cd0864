"""The chain of one participant (or session), on one screen."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import unusable
from ..models import labels, templates, zoo
from ..models.errors import UsageError
from .bias import init_bias_wf
from .conform import init_conform_wf
from .outputs import init_outputs_wf
from .registration import init_registration_wf
from .segmentation import init_segmentation_wf
from .skullstrip import init_skullstrip_wf

NETWORKS = {"adult": ("head-coarse", "skullstrip", "segmentation")}
"""Coarse, skull-stripping and segmentation network of each population."""

MEMORY = {
    "conform": 0.8,
    "skullstrip": 2.0,
    "bias": 1.5,
    "segmentation": 3.0,
    "registration": 0.8,
    "outputs": 2.0,
}
"""Memory (GB) of each stage's process for a head at 1 mm, measured."""

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
    skull_strip: str = "auto",
    template: str = templates.DEFAULT,
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
    skull_strip : {'auto', 'skip', 'force'}
        What to do with a scan without skull.
    template : str
        Name of the template.
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
        If there are no networks for the population.
    MissingFileError
        If its networks are not installed.
    """
    coarse, skull, brain = spacings(population)
    need = {stage: min(gb, mem_gb) for stage, gb in MEMORY.items()}
    network = {"device": device, "num_threads": num_threads}
    place = {"bids_root": bids_root, "out_dir": out_dir, "key": key, "template": template}

    workflow = LiterateWorkflow(name)
    workflow.__desc__ = DESC
    inputnode = pe.Node(IdentityInterface(["source_file"]), name="inputnode")
    inputnode.inputs.source_file = source_file
    outputnode = pe.Node(IdentityInterface(["out_files", "notes", "stripped"]), name="outputnode")
    conform_wf = init_conform_wf(mem_gb=need["conform"])
    skullstrip_wf = init_skullstrip_wf(
        mode=skull_strip, spacing=(coarse, skull), mem_gb=need["skullstrip"], **network
    )
    bias_wf = init_bias_wf(num_threads=num_threads, mem_gb=need["bias"])
    segmentation_wf = init_segmentation_wf(
        structures=len(labels.load("adult").labels) - 1,
        spacing=(coarse, brain),
        mem_gb=need["segmentation"],
        **network,
    )
    registration_wf = init_registration_wf(template=template, mem_gb=need["registration"])
    outputs_wf = init_outputs_wf(num_threads=num_threads, mem_gb=need["outputs"], **place)
    stages = (conform_wf, skullstrip_wf, bias_wf, segmentation_wf, registration_wf, outputs_wf)

    image, mask = "inputnode.in_file", "inputnode.in_mask"
    workflow.connect([(inputnode, stage, [("source_file", "inputnode.source_file")]) for stage in stages])
    workflow.connect(
        [
            (conform_wf, skullstrip_wf, [("outputnode.out_file", image)]),
            (conform_wf, bias_wf, [("outputnode.out_file", image)]),
            (skullstrip_wf, bias_wf, [("outputnode.out_mask", mask)]),
            (skullstrip_wf, segmentation_wf, [("outputnode.out_mask", mask)]),
            (bias_wf, segmentation_wf, [("outputnode.out_file", image)]),
            (segmentation_wf, registration_wf, [("outputnode.out_measures", "inputnode.in_measures")]),
            (conform_wf, outputs_wf, [("outputnode.notes", "inputnode.conform_notes")]),
            (
                skullstrip_wf,
                outputs_wf,
                [
                    ("outputnode.out_mask", mask),
                    ("outputnode.stripped", "inputnode.stripped"),
                    ("outputnode.notes", "inputnode.skullstrip_notes"),
                ],
            ),
            (bias_wf, outputs_wf, [("outputnode.out_file", "inputnode.in_preproc")]),
            (
                segmentation_wf,
                outputs_wf,
                [
                    ("outputnode.out_structures", "inputnode.in_structures"),
                    ("outputnode.out_tissue", "inputnode.in_tissue"),
                    ("outputnode.out_probabilities", "inputnode.in_probabilities"),
                    ("outputnode.out_measures", "inputnode.in_measures"),
                    ("outputnode.notes", "inputnode.segmentation_notes"),
                ],
            ),
            (
                registration_wf,
                outputs_wf,
                [
                    ("outputnode.out_transform", "inputnode.in_transform"),
                    ("outputnode.notes", "inputnode.registration_notes"),
                ],
            ),
            (outputs_wf, outputnode, [(f"outputnode.{n}", n) for n in ("out_files", "notes", "stripped")]),
        ]
    )
    return workflow


def spacings(population: str) -> list[float]:
    """Voxel sizes (mm) of a population's networks, from their cards.

    Raises
    ------
    UsageError
        If there are no networks for the population.
    MissingFileError
        If they are not installed.
    """
    if population not in NETWORKS:
        raise UsageError(
            None, f"there are no networks for the population {population!r}", f"Use {', '.join(NETWORKS)}"
        )
    try:
        return [float(zoo.read_card(name)["spacing"]) for name in NETWORKS[population]]
    except zoo.ModelError as error:
        raise unusable(error) from error
