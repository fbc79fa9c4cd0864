"""Segmentation: from a brain to its structures and tissues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.own_labels import SegmentOwnLabels, has_tissues, sees_tissues
from ..interfaces.segmentation import Segment
from ..models.pipeline import methods
from ..models.pipeline.networks import record_of
from .common.base import init_stage_wf

OWN_OUTPUTS = ["out_file", "out_volumes", "notes"]
TISSUES = ["out_dseg", "out_probabilities"]
"""Outputs of a network of own labels, and those that it has if its labels are tissues."""

INPUTS = ["source_file", "in_file", "in_mask"]
REGION = "in_region"
"""Input that a precomputed segmentation does not have."""
OUTPUTS = ["out_structures", "out_tissue", "out_probabilities", "out_measures", "notes"]


def init_segmentation_wf(
    *,
    name: str = "segmentation_wf",
    population: str = "adult",
    networks: Mapping[str, str] | None = None,
    effort: str = "fast",
    label_table: str | None = None,
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 3.0,
) -> LiterateWorkflow:
    """Segment a brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Population of the brain.
    networks : mapping of str to str, optional
        Networks of the user by step, in place of those of the population.
    effort : {'fast', 'accurate'}
        ``accurate`` averages the posteriors of the image and its mirror image; it becomes a note where the
        population's method does not have this option.
    label_table : str, optional
        A coarser label table than the network's, whose structures are sums of the network's.
    device : str
        Device of the networks.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan in the dataset.
    in_file
        The bias-corrected scan.
    in_mask
        The brain.
    in_region
        The brain and fluid around it, optional.

    Outputs
    -------
    out_structures
        FreeSurfer ids, int16, on the scan's grid.
    out_tissue
        Six tissues, uint8, same grid.
    out_probabilities
        Probabilities of GM, WM and CSF, float32, same grid.
    out_measures
        JSON with volumes (mm3), centroids (mm) and uncertainty by FreeSurfer id.
    notes
        Notes on the results.

    Raises
    ------
    MissingFileError
        If a network is not installed.
    """
    with about(None):
        desc = methods.segmentation(record_of(population, networks), label_table, effort)
    segmentation = pe.Node(
        Segment(
            population=population,
            networks=dict(networks or {}),
            effort=effort,
            label_table=label_table or "",
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="segmentation",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    return init_stage_wf(name, segmentation, [*INPUTS, REGION], OUTPUTS, desc)


def init_own_labels_wf(
    *,
    model: str,
    name: str = "own_labels_wf",
    contrast: str = "T1w",
    others: Sequence[str] = (),
    effort: str = "fast",
    precomputed: bool = False,
    tissues_by: str = "",
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 3.0,
) -> LiterateWorkflow:
    """Segment the labels of a network of the user, beside the structures.

    Parameters
    ----------
    model : str
        Weights of the network.
    name : str
        Name of the workflow.
    contrast : str
        Suffix of the image.
    others : sequence of str
        Suffixes of the images of other contrasts, for a network of several.
    effort : {'fast', 'accurate'}
        ``accurate`` averages the probabilities of the image and its mirror image; it becomes a note where the
        network does not allow it.
    precomputed : bool
        Whether the tissues are precomputed ones, which a network that sees tissues did not see in training.
    tissues_by : str
        Weights that find the tissues, if they are not precomputed.
    device : str
        Device of the network.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file, in_file, in_mask
        As of :func:`init_segmentation_wf`.
    in_others
        Images of other contrasts on the same grid, in the order of ``others``, if there are any.
    in_structures, in_probabilities
        Structures and tissues of the program, for a network that sees them.

    Outputs
    -------
    out_file
        Labels of the network's table, int16, on the scan's grid.
    out_volumes
        JSON with their volumes (mm3).
    out_dseg, out_probabilities
        Tissues and their probabilities, if the table has them.
    notes
        Notes on the results.
    """
    node = pe.Node(
        SegmentOwnLabels(
            model=model,
            contrast=contrast,
            others=list(others),
            effort=effort,
            precomputed=precomputed,
            tissues_by=tissues_by,
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="own_labels",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    with about(None):
        desc = methods.own_labels(model, effort)
    found = [*OWN_OUTPUTS, *(TISSUES if has_tissues(model) else [])]
    more = ["in_structures", "in_probabilities"] if sees_tissues(model) else []
    return init_stage_wf(name, node, [*INPUTS, *(["in_others"] if others else []), *more], found, desc)
