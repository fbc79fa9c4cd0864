"""Parameters of the participant workflow: what is processed, how, and with which resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...models.templates import spaces


@dataclass(frozen=True, kw_only=True)
class ParticipantInputs:
    """Images of one participant-session and what is known of it.

    Attributes
    ----------
    source_file : str
        The reference image.
    bids_root, out_dir : str
        Its dataset and the root of the derivatives.
    key : str
        The participant-session, such as ``sub-01_ses-02``.
    population : str
        The population; its record names the networks, label table and template.
    age : float, optional
        Age in the unit of the population. If it is not known, it is estimated where the population has
        growth curves.
    averaged : tuple of str
        Images whose average replaces ``source_file``.
    other_contrasts : tuple of str
        Images of other contrasts that are coregistered to the reference image.
    maps : mapping of str to str
        Images to measure in the parcels of atlases, by name.
    precomputed, precomputed_uris : mapping of str to str
        Precomputed inputs and their BIDS URIs, by role: ``mask``, ``structures``, ``dseg`` with ``GM``,
        ``WM`` and ``CSF``, ``forward:SPACE`` with ``inverse:SPACE``.
    """

    source_file: str
    bids_root: str
    out_dir: str
    key: str
    population: str = "adult"
    age: float | None = None
    averaged: tuple[str, ...] = ()
    other_contrasts: tuple[str, ...] = ()
    maps: Mapping[str, str] = field(default_factory=dict)
    precomputed: Mapping[str, str] = field(default_factory=dict)
    precomputed_uris: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProcessingOptions:
    """Options of the processing.

    Attributes
    ----------
    reorient : str
        Correct orientations that do not fit the head: ``auto``, or the true axis codes; empty does not.
    skull_strip : {'auto', 'skip', 'force'}
        Detect images without skull, treat all as such, or none.
    effort : {'fast', 'accurate'}
        ``accurate`` averages the segmentation network over the image and its mirror image.
    label_table : str, optional
        Label table that replaces the population's own.
    networks : mapping of str to str
        Networks of the user by step, in place of those of the population.
    hippocampus : bool
        Divide the hippocampus into an anterior and a posterior part.
    lesion : bool
        Segment lesions, in the FLAIR image or else, with ``force``, in the T2w image.
    force : bool
        Do what is refused as unreliable: lesions in images with bright CSF.
    output_spaces : tuple of str
        Templates as the user writes them. Quality is judged with the first.
    atlases : tuple of str
        Atlases whose parcels are carried into the image, as the user writes them.
    smooth : float
        Width (mm, full at half maximum) of the Gaussian that smooths the modulated maps; 0 for none.
    engine : {'deep', 'ants', 'none'}
        Registration method.
    refine : int, optional
        Iterations of the registration at its finest level.
    flavor : {'fmriprep', 'nibabies', 'both'}
        Naming of the derivatives.
    leave_out : tuple of str
        Steps that are off: ``posteriors``, ``template-outputs``, ``jacobian``, ``vbm``.
    stop_after : {'skullstrip'}, optional
        Stage after which the workflow ends.
    sloppy : bool
        Process fast and coarsely, for tests. The sidecars say so.
    """

    reorient: str = ""
    skull_strip: str = "auto"
    effort: str = "fast"
    label_table: str | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    hippocampus: bool = False
    lesion: bool = False
    force: bool = False
    output_spaces: tuple[str, ...] = (spaces.DEFAULT,)
    atlases: tuple[str, ...] = ()
    smooth: float = 0.0
    engine: str = "deep"
    refine: int | None = None
    flavor: str = "fmriprep"
    leave_out: tuple[str, ...] = ("jacobian", "vbm")
    stop_after: str | None = None
    sloppy: bool = False


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of one node.

    Attributes
    ----------
    device : str
        Device of the networks, such as ``cpu`` or ``cuda:0``.
    num_threads : int
        Threads.
    mem_gb : float
        Available memory (GB). No node declares more.
    """

    device: str = "cpu"
    num_threads: int = 2
    mem_gb: float = 5.0


def transforms_by_space(inputs: ParticipantInputs) -> dict[str, dict[str, str]]:
    """Return the precomputed transforms of each space.

    Parameters
    ----------
    inputs : ParticipantInputs
        Inputs with ``forward:SPACE`` and ``inverse:SPACE`` among the precomputed ones.

    Returns
    -------
    dict of str to dict
        By the label of the space ``forward``, ``inverse``, ``forward_uri`` and ``inverse_uri``.
    """
    spaces = {role.partition(":")[2] for role in inputs.precomputed if ":" in role}
    directions = ("forward", "inverse")
    return {
        space: {way: inputs.precomputed[f"{way}:{space}"] for way in directions}
        | {f"{way}_uri": inputs.precomputed_uris[f"{way}:{space}"] for way in directions}
        for space in spaces
    }
