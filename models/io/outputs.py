"""The specification of outputs (``models/data/outputs.toml``): names, types and conditions of the files.

The program writes, announces (``--dry-run``), documents and reads back what stands there. An *ending* is the
name of a file without the entities of its source image, such as ``desc-brain_mask.nii.gz``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from ..data import FOLDER

VALUE = r"[0-9A-Za-z+]+"
"""Values of an entity in a name; ``+`` joins a template and its cohort in the names of transforms."""

SPACE = re.compile(rf"space-{VALUE}_(?:cohort-{VALUE}_)?(?:res-{VALUE}_)?")
"""Beginning of the ending of a file in another space."""

OF_IMAGE = re.compile(rf"(?:(?:ses|acq|ce|rec|run|echo|part|inv|mod)-{VALUE}_)*")
"""Entities of the source image in the name of a result."""


@dataclass(frozen=True)
class Output:
    """One kind of file.

    Attributes
    ----------
    id : str
        Name in the specification.
    entities : dict of str to str
        BIDS entities, suffix and extension; may hold ``{suffix}``, ``{label}``, ``{space}``, ``{contrast}``,
        ``{network}``, ``{atlas}``.
    description : str
        Content of the file.
    labels : tuple of str
        Values of ``{label}``.
    image : {'reference', 'averaged', 'other'}
        Image whose name the file takes.
    dtype : str
        Type of the voxels; ``source`` depends on the source image, and empty is for files of another kind.
    native, template : bool
        Whether it is written on the grid of its image, and in every output space.
    flavored : bool
        Whether its native name has ``space-SUFFIX`` for NiBabies.
    when : tuple of str
        Conditions that all have to hold for it to be written; empty if it always is.
    lookup : tuple of str
        Programs that look it up.
    json : bool
        Whether a JSON file of the same name describes it.
    """

    id: str
    entities: dict[str, str]
    description: str
    labels: tuple[str, ...] = ()
    image: str = "reference"
    dtype: str = ""
    native: bool = True
    template: bool = False
    flavored: bool = False
    when: tuple[str, ...] = ()
    lookup: tuple[str, ...] = ()
    json: bool = True

    def ending(self, **values: str) -> str:
        """Return the name without the entities of the source image.

        Examples
        --------
        >>> load()["preproc"].ending(suffix="T1w"), load()["probseg"].ending(label="GM")
        ('desc-preproc_T1w.nii.gz', 'label-GM_probseg.nii.gz')
        """
        return self._joined.format(**values)

    @cached_property
    def per_space(self) -> bool:
        """Whether there is one for each output space."""
        return "{space}" in self._joined

    @cached_property
    def label_file(self) -> str:
        """Name of the dataset's file with the names of its labels; empty if it has none."""
        name = self._joined.removesuffix(self.entities["extension"]) + ".tsv"
        return name if name in label_tables() else ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What its endings match."""
        values = {"label": f"(?:{'|'.join(self.labels)})"}
        text = re.escape(self._joined)
        return re.compile(re.sub(r"\\\{(\w+)\\\}", lambda found: values.get(found[1], VALUE), text))

    @cached_property
    def _joined(self) -> str:
        *pairs, (_, suffix), (_, extension) = self.entities.items()
        return "".join([*(f"{key}-{value}_" for key, value in pairs), suffix, extension])


@cache
def load() -> dict[str, Output]:
    """Return every kind of file by its id, in the order of the specification."""
    return {name: _output(name, values) for name, values in _specification()["outputs"].items()}


def _output(name: str, values: dict[str, Any]) -> Output:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Output(name, **values | lists)


@cache
def _specification() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "outputs.toml").read_text(encoding="utf-8"))


def conditions() -> dict[str, str]:
    """Return the text of every condition by its name."""
    return _specification()["conditions"]


def label_tables() -> dict[str, list[str]]:
    """Return the names of the label tables that each label file of the dataset is made of."""
    return _specification()["label_tables"]


def color_table(label_file: str) -> str:
    """Return the name of the color table beside a label table.

    Examples
    --------
    >>> color_table("desc-aseg_dseg.tsv")
    'desc-aseg_dseg.lut.txt'
    """
    return f"{label_file.removesuffix('.tsv')}.lut.txt"


def label_files(holding: Collection[str]) -> set[str]:
    """Return the names of the label tables of the files that are written under these conditions.

    Examples
    --------
    >>> sorted(label_files([]))
    ['desc-aseg_dseg.tsv', 'desc-tissue_dseg.tsv', 'dseg.tsv']
    """
    written = (output for output in load().values() if set(output.when) <= set(holding))
    return {output.label_file for output in written} - {""}


def ending(name: str, **values: str) -> str:
    """Return the ending of the output ``name``.

    Examples
    --------
    >>> ending("mask"), ending("preproc", suffix="*")
    ('desc-brain_mask.nii.gz', 'desc-preproc_*.nii.gz')
    """
    return load()[name].ending(**values)


def own_desc(name: str) -> str:
    """Return the value of ``desc`` for the labels of a user's network: its name as BIDS can have it.

    Examples
    --------
    >>> own_desc("my_labels-2"), own_desc("tissue")
    ('mylabels2', 'owntissue')
    """
    found = re.sub("[^0-9A-Za-z]", "", name) or "own"
    taken = {output.entities.get("desc") for output in load().values()}
    return f"own{found}" if found in taken else found


def sidecar(name: str) -> str:
    """Return the name of the JSON file that describes a file.

    Examples
    --------
    >>> sidecar("sub-01_dseg.nii.gz")
    'sub-01_dseg.json'
    """
    return f"{name.split('.')[0]}.json"


def find(text: str) -> Output | None:
    """Return the output with that ending, in any space; None if there is no such output.

    Examples
    --------
    >>> find("space-MNIInfant_cohort-2_desc-brain_mask.nii.gz").id, find("desc-other_mask.nii.gz")
    ('mask', None)
    >>> find("from-T1w_to-MNIInfant+2_mode-image_xfm.h5").id
    'transform'
    """
    own = SPACE.sub("", text, count=1)
    return next((output for output in load().values() if output.pattern.fullmatch(own)), None)


def native_endings(text: str, suffix: str, flavor: str) -> list[str]:
    """Return the endings under which a result on the grid of its image is stored, one for each flavor.

    Parameters
    ----------
    text : str
        Its ending for fMRIPrep.
    suffix : str
        Suffix of the image.
    flavor : {'fmriprep', 'nibabies', 'both'}
        Programs that the names are for.

    Examples
    --------
    >>> native_endings("dseg.nii.gz", "T1w", "both")
    ['dseg.nii.gz', 'space-T1w_dseg.nii.gz']
    >>> native_endings("desc-tissue_dseg.nii.gz", "T1w", "nibabies")
    ['desc-tissue_dseg.nii.gz']
    """
    output = find(text)
    if output is None or not output.flavored:
        return [text]
    names = {"fmriprep": text, "nibabies": f"space-{suffix}_{text}"}
    return list(names.values()) if flavor == "both" else [names[flavor]]


def plan(
    suffix: str,
    holding: Collection[str],
    spaces: Iterable[tuple[str, str]] = (),
    flavor: str = "fmriprep",
    network: str = "own",
    atlases: Sequence[str] = (),
) -> list[str]:
    """Return the endings of all files that a complete run writes in the name of the reference image.

    Parameters
    ----------
    suffix : str
        Suffix of the reference image.
    holding : collection of str
        Conditions that hold.
    spaces : iterable of (str, str)
        For each output space its label in transforms and its entities in images (``MNIInfant+2``,
        ``space-MNIInfant_cohort-2``).
    flavor : {'fmriprep', 'nibabies', 'both'}
        Programs that the names are for.
    network : str
        Value of ``desc`` for the labels of a user's network.
    atlases : sequence of str
        Values of ``seg`` for the parcels of atlases.

    Returns
    -------
    list of str
        Endings, without the JSON files that describe another file.
    """
    written = [o for o in load().values() if o.image == "reference" and set(o.when) <= set(holding)]
    out: list[str] = []
    for output in written:
        if output.native and not output.per_space:
            for name in _endings(output, suffix, network, atlases):
                out += native_endings(name, suffix, flavor)
    for label, entities in spaces:
        out += [output.ending(suffix=suffix, space=label) for output in written if output.per_space]
        if "template-outputs" in holding:
            names = [name for output in written if output.template for name in _endings(output, suffix)]
            out += [f"{entities}_{name}" for name in names]
    return out


def plan_of_other(suffix: str, contrast: str, flavor: str = "fmriprep") -> list[str]:
    """Return the endings of all files in the name of an image of another contrast.

    Examples
    --------
    >>> plan_of_other("T1w", "T2w")[:2]
    ['desc-preproc_T2w.nii.gz', 'from-origT2w_to-T1w_mode-image_xfm.h5']
    """
    written = [output for output in load().values() if output.image == "other"]
    moved = contrast if flavor == "nibabies" else f"orig{contrast}"
    return [o.ending(suffix=suffix, contrast=moved if "from" in o.entities else contrast) for o in written]


def prefix(name: str, key: str) -> str:
    """Return the beginning of the names of results: that of the image without its suffix.

    Parameters
    ----------
    name : str
        Name of the image.
    key : str
        ``sub-01_ses-02``, or ``sub-01`` where all sessions are processed as one.

    Examples
    --------
    >>> prefix("sub-1_ses-2_acq-x_T1w.nii.gz", "sub-1_ses-2"), prefix("sub-1_ses-2_acq-x_T1w.nii.gz", "sub-1")
    ('sub-1_ses-2_acq-x', 'sub-1_acq-x')
    """
    parts = name.split(".")[0].split("_")[:-1]
    return "_".join(part for part in parts if "_ses-" in key or not part.startswith("ses-"))


def is_result(name: str, key: str) -> bool:
    """Return whether a file has the name of a result or of its JSON file, whatever image it was made of.

    Parameters
    ----------
    name : str
        Name of the file.
    key : str
        ``sub-01_ses-02``, or ``sub-01`` without sessions or for all of them.

    Examples
    --------
    >>> is_result("sub-1_acq-x_run-2_dseg.nii.gz", "sub-1"), is_result("sub-1_dseg.json", "sub-1")
    (True, True)
    >>> is_result("sub-1_desc-manual_T1w.nii.gz", "sub-1"), is_result("sub-1_T1w.nii.gz", "sub-1")
    (False, False)
    """
    own = OF_IMAGE.sub("", name.removeprefix(f"{key}_"), count=1)
    found = [own]
    if own.endswith(".json"):
        found += [f"{own.removesuffix('.json')}{o.entities['extension']}" for o in load().values() if o.json]
    return name.startswith(f"{key}_") and any(find(text) is not None for text in found)


def table() -> list[tuple[str, str, str]]:
    """Return name, description and condition of every file.

    Names have ``M`` and ``M2`` for the suffixes of the reference and of another contrast, ``SPACE`` for a
    template, ``ATLAS`` for an atlas and ``NETWORK`` for a user's network.
    """
    rows = []
    for output in load().values():
        labels = f"{{{','.join(output.labels)}}}"
        values = {"space": "SPACE", "network": "NETWORK", "atlas": "ATLAS", "label": labels}
        name = output.ending(suffix="M", contrast="M2", **values)
        words = output.description.format(**values)
        words += f"; names in `{output.label_file}`" if output.label_file else ""
        when = "; ".join(conditions()[one] for one in output.when)
        rows.append((name if output.native else f"space-SPACE_{name}", words, when))
    return rows


def _endings(output: Output, suffix: str, network: str = "own", atlases: Sequence[str] = ()) -> list[str]:
    values = {"suffix": suffix, "network": network}
    if output.entities.get("seg") == "{atlas}":
        return [output.ending(atlas=atlas, **values) for atlas in atlases]
    return [output.ending(label=label, **values) for label in output.labels or ("",)]
