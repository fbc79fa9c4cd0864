"""Coregistration: from images of other contrasts to images on the grid of the reference image."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.coregistration import Coregister

DESC = """\
{contrasts} of the same {unit} {were} aligned to the {reference} image by a rigid transform that maximizes \
the mutual information of the intensities (Mattes et al., 2003, doi:10.1109/TMI.2003.809072; ITK), and \
corrected for intensity non-uniformity in the same way. """
OUTPUTS = ("out_files", "out_natives", "out_uncorrected", "out_transforms", "notes")


def init_coregistration_wf(
    *,
    other_contrasts: list[str],
    reference: str = "T1w",
    unit: str = "session",
    name: str = "coregistration_wf",
    sloppy: bool = False,
    reorient: str = "",
    model: str = "",
    num_threads: int = 1,
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Align images of other contrasts to the reference image.

    Parameters
    ----------
    other_contrasts : list of str
        Images in the dataset, one of each contrast.
    reference, unit : str
        Suffix of the reference image, and ``session`` or ``participant``, for the methods text.
    name : str
        Name of the workflow.
    sloppy : bool
        Whether to align coarsely.
    reorient, model : str
        Correction of the orientation, as in :func:`brainseg.workflows.conform.init_conform_wf`.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of each node.

    Inputs
    ------
    source_file : str
        Reference image in the dataset.
    in_file : str
        Conformed reference image, shape (X, Y, Z).
    in_mask : str
        Brain mask on the same grid.

    Outputs
    -------
    out_files : list of str
        Bias-corrected images on the grid of the reference image, in the order of ``other_contrasts``.
    out_natives : list of str
        Bias-corrected images on their own grids.
    out_uncorrected : list of str
        Images on the grid of the reference image, without correction of the bias.
    out_transforms : list of str
        JSON with the matrix, shape (4, 4), from mm of each image to mm of the reference image.
    notes : list of str
        Notes for the report.
    """
    workflow = LiterateWorkflow(name)
    contrasts = [path.split("/")[-1].split(".")[0].rpartition("_")[2] for path in other_contrasts]
    listed = " and ".join(filter(None, (", ".join(contrasts[:-1]), contrasts[-1])))
    workflow.__desc__ = DESC.format(
        contrasts=f"The {listed} image{'s' * (len(contrasts) > 1)}",
        were="were" if len(contrasts) > 1 else "was",
        unit=unit,
        reference=reference,
    )
    inputnode = pe.Node(IdentityInterface(["source_file", "in_file", "in_mask"]), name="inputnode")
    outputnode = pe.Node(IdentityInterface(list(OUTPUTS)), name="outputnode")
    merges = [
        pe.Node(Merge(len(other_contrasts)), name=f"merge_{output}", run_without_submitting=True)
        for output in OUTPUTS
    ]
    for number, (path, contrast) in enumerate(zip(other_contrasts, contrasts, strict=True), 1):
        coregister = pe.Node(
            Coregister(
                source_file=path, sloppy=sloppy, reorient=reorient, model=model, num_threads=num_threads
            ),
            name=f"coregister_{contrast}",
            n_procs=num_threads,
            mem_gb=mem_gb,
        )
        workflow.connect([(inputnode, coregister, [("in_file", "in_reference"), ("in_mask", "in_mask")])])
        made = ("out_file", "out_native", "out_uncorrected", "out_transform", "notes")
        for field, merge in zip(made, merges, strict=True):
            workflow.connect(coregister, field, merge, f"in{number}")
    for output, merge in zip(OUTPUTS, merges, strict=True):
        workflow.connect(merge, "out", outputnode, output)
    return workflow
