"""Intracranial volume: from the image with its skull to a mask of the cranial cavity."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.intracranial import MeasureIntracranial
from ..models.pipeline import methods
from ..models.pipeline.networks import record_of
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file", "in_mask", "in_place", "stripped"]
OUTPUTS = ["out_mask", "out_measures", "notes"]


def init_intracranial_wf(
    *,
    name: str = "intracranial_wf",
    population: str = "adult",
    networks: Mapping[str, str] | None = None,
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Measure the intracranial volume.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Population of the brain, with a network of the cavity in its record.
    networks : mapping of str to str, optional
        Networks of the user by step, in place of those of the population.
    device : str
        Device of the networks.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_file : str
        Conformed image with its skull, shape (X, Y, Z).
    in_mask : str
        Brain mask on the same grid.
    in_place : str
        Where the brain was found in that image; it is found again without.
    stripped : bool
        Whether the image has no skull; then there is no volume.

    Outputs
    -------
    out_mask : str
        1 inside the skull, uint8, on the same grid; undefined if there is none.
    out_measures : str
        JSON with the volume (mm3), or the reason why there is none.
    notes : list of str
        Notes for the report.

    Raises
    ------
    MissingFileError
        If the network is not installed.
    """
    with about(None):
        desc = methods.intracranial(record_of(population, networks))
    measure = MeasureIntracranial(
        population=population,
        networks=dict(networks or {}),
        device=device,
        use_gpu=device.startswith("cuda"),
    )
    node = pe.Node(measure, name="intracranial", n_procs=num_threads, mem_gb=mem_gb)
    return init_stage_wf(name, node, INPUTS, OUTPUTS, desc)
