"""Parcellation: from the registrations of an image to the parcels of atlases in its gray matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.parcellation import Parcellate
from ..models.parcellation import carry, names, tables
from .common.base import init_stage_wf

INPUTS = ["source_file", "in_structures", "in_probabilities", "in_alignments"]
OUTPUTS = ["out_files", "out_tables", "notes"]

DESC = """\
The parcels of {atlases} were carried to the image by the inverse of its registration to the template, by \
linear interpolation of each parcel's map, and confined to the gray matter of the participant; cortex \
without parcel got the nearest one within {reach:g} mm, or at any distance where an atlas divides the whole \
cortex (such as that of Desikan and Killiany). """


def init_parcellation_wf(
    *,
    atlases_named: Sequence[str],
    name: str = "parcellation_wf",
    maps: Mapping[str, str] | None = None,
    population: str = "adult",
    label_table: str = "adult",
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Carry the parcels of atlases into the gray matter of an image.

    Parameters
    ----------
    atlases_named : sequence of str
        Atlases as the user writes them.
    name : str
        Name of the workflow.
    maps : mapping of str to str, optional
        Images to measure in the parcels, by name.
    population, label_table : str
        Population, and label table of its structures.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of the node.

    Raises
    ------
    UsageError, MissingFileError
        If an atlas is unknown, or its files are missing.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_structures : str
        Structures (FreeSurfer ids), shape (X, Y, Z).
    in_probabilities : list of str
        Probabilities of GM, WM and CSF on the same grid.
    in_alignments : list of str
        JSON of the registration to each output space.

    Outputs
    -------
    out_files : list of str
        Parcels of each atlas on the same grid, int32.
    out_tables : list of str
        JSON of each atlas: volumes (mm3), statistics of the maps, and what is known of it.
    notes : list of str
        Notes for the report.
    """
    with about(None):
        found = [names.parse(text) for text in atlases_named]
        digests = [tables.digest(one) for one in found]
        cited = " and ".join(_cited(one) for one in found)
    node = pe.Node(
        Parcellate(
            atlases=list(atlases_named),
            digests=digests,
            maps=dict(maps or {}),
            population=population,
            label_table=label_table,
        ),
        name="parcellation",
        n_procs=num_threads,
        mem_gb=mem_gb,
    )
    return init_stage_wf(name, node, INPUTS, OUTPUTS, DESC.format(atlases=cited, reach=carry.REACH))


def _cited(name: names.AtlasName) -> str:
    """Return an atlas with its citation, if it is known."""
    about_it = tables.about(name)
    title, cited = about_it.get("title") or f"the atlas {name.label}", about_it.get("cited")
    return f"{title} ({cited})" if cited else title
