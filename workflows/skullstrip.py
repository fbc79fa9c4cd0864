"""Skull-stripping: from a scan to the brain mask."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.skullstrip import SkullStrip
from ..models.pipeline import methods
from ..models.pipeline.networks import record_of
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_file"]
OUTPUTS = ["out_mask", "out_region", "out_place", "stripped", "misfit", "mask_source", "notes"]


def init_skullstrip_wf(
    *,
    name: str = "skullstrip_wf",
    population: str = "adult",
    networks: Mapping[str, str] | None = None,
    mode: str = "auto",
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 2.0,
) -> LiterateWorkflow:
    """Extract the brain.

    Parameters
    ----------
    name : str
        Name of the workflow.
    population : str
        Population of the brain.
    networks : mapping of str to str, optional
        Networks of the user by step, in place of those of the population.
    mode : {'auto', 'skip', 'force'}
        Whether a scan without skull is detected, assumed or ruled out.
    device : str
        Device of the networks.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Inputs
    ------
    source_file
        The scan in the dataset.
    in_file
        The conformed scan.

    Outputs
    -------
    out_mask
        1 in the brain, uint8, on the scan's grid.
    stripped
        Whether the scan came without a skull.
    misfit
        Why the orientation in the header does not fit the head; empty if it does.
    out_region
        The mask and fluid around it, uint8; undefined if that is the mask itself.
    out_place
        Where the coarse network found the brain; undefined if it did not search.
    mask_source
        Network that made the mask, ``extent`` or ``precomputed``.
    notes
        Notes on the results.

    Raises
    ------
    MissingFileError
        If a network is not installed.
    """
    record = record_of(population, networks)
    with about(None):
        desc = methods.skullstrip(record, mode)
    skullstrip = pe.Node(
        SkullStrip(
            population=population,
            networks=dict(networks or {}),
            mode=mode,
            plausible_ml=record.brain_ml,
            device=device,
            use_gpu=device.startswith("cuda"),
        ),
        name="skullstrip",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    return init_stage_wf(name, skullstrip, INPUTS, OUTPUTS, desc)
