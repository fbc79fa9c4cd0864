"""Names, sidecars and tables of one unit's derivatives: pure functions, no file is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...models.io import outputs
from ...models.population import labels
from ...models.templates import bundled, spaces

REFERENCES = {bundled.DEFAULT: "https://osf.io/7pj92"}
"""Where a template is described."""

VOLUME_COLUMNS = {
    "index": {"Description": "FreeSurfer id of the structure, as in desc-aseg_dseg"},
    "name": {"Description": "Name of the structure"},
    "hemisphere": {"Description": "Side of the brain", "Levels": {"L": "left", "R": "right"}},
    "volume_mm3": {"Description": "Sum of the structure's probability over all voxels", "Units": "mm^3"},
    "label_volume_mm3": {"Description": "Volume of the voxels that carry the label", "Units": "mm^3"},
    "fraction_of_brain": {"Description": "volume_mm3 divided by the volume of the brain mask"},
    "uncertainty": {
        "Description": "Mean over the voxels that carry the label of the entropy of the structures' "
        "probabilities, divided by its largest possible value: 0 sure, 1 every structure equally likely"
    },
}
LABEL_COLUMNS = ("index", "name", "abbreviation", "color", "mapping")
FEW_LEVELS = 500
"""Range of intensities below which whole numbers would be coarse."""

PROBABILITY_STEPS = 4096
"""Probabilities are kept to this part of one: what lies below is noise that does not compress."""


@dataclass(frozen=True)
class Names:
    """Where the derivatives of a unit lie and what they are called.

    Parameters
    ----------
    out_dir, bids_root : Path
        The derivatives' root and the dataset's.
    source_file : Path
        The scan.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    template : str
        An output space as the user wrote it.
    averaged : tuple of Path
        The scans whose average the reference is; empty if ``source_file`` alone is it.
    flavor : {'fmriprep', 'nibabies', 'both'}
        For whom native results are named: NiBabies wants ``space-T1w`` where fMRIPrep wants no ``space-``.

    Examples
    --------
    >>> names = Names(Path("/out"), Path("/raw"), Path("/raw/sub-1/anat/sub-1_acq-x_T1w.nii.gz"), "sub-1")
    >>> names.path("desc-brain_mask.nii.gz").as_posix()
    '/out/sub-1/anat/sub-1_acq-x_desc-brain_mask.nii.gz'
    >>> names.uri("dseg.nii.gz"), names.raw
    ('bids::sub-1/anat/sub-1_acq-x_dseg.nii.gz', 'bids:raw:sub-1/anat/sub-1_acq-x_T1w.nii.gz')
    """

    out_dir: Path
    bids_root: Path
    source_file: Path
    key: str
    template: str = bundled.DEFAULT
    averaged: tuple[Path, ...] = ()
    flavor: str = "fmriprep"

    @property
    def suffix(self) -> str:
        """Suffix of the scan, such as ``T1w``."""
        return self.source_file.name.split(".")[0].rpartition("_")[2]

    @property
    def prefix(self) -> str:
        """What the names begin with: the scan's without its suffix, and without what it is merged over."""
        return self.key if self.averaged else outputs.prefix(self.source_file.name, self.key)

    @property
    def folder(self) -> Path:
        """Folder of the derivatives."""
        return self.out_dir.joinpath(*self.key.split("_"), "anat")

    @property
    def raw_path(self) -> str:
        """The scan, relative to its dataset."""
        return self._in_dataset(self.source_file)

    def _in_dataset(self, path: Path) -> str:
        try:
            return path.relative_to(self.bids_root).as_posix()
        except ValueError:
            return path.name

    @property
    def raws(self) -> list[str]:
        """BIDS URIs of all scans that the results come from."""
        return [f"bids:raw:{self._in_dataset(path)}" for path in self.averaged or (self.source_file,)]

    @property
    def raw(self) -> str:
        """BIDS URI of the scan."""
        return f"bids:raw:{self.raw_path}"

    @property
    def preproc(self) -> str:
        """Ending of the bias-corrected scan."""
        return outputs.ending("preproc", suffix=self.suffix)

    def path(self, ending: str) -> Path:
        """Path of the derivative with that ending."""
        return self.folder / f"{self.prefix}_{ending}"

    def uri(self, ending: str) -> str:
        """BIDS URI of the derivative with that ending."""
        return f"bids::{self.path(ending).relative_to(self.out_dir).as_posix()}"

    def native(self, ending: str) -> list[str]:
        """Endings under which a result on the scan's own grid is stored: one for each flavor."""
        return outputs.native_endings(ending, self.suffix, self.flavor)

    def stored(self, ending: str, leave_out: Sequence[str] = ()) -> list[str]:
        """Endings under which a result is stored: none if its step is off."""
        in_template = ending.startswith(f"{self._space.entities}_")
        output = outputs.find(ending)
        needed = {*(output.when if output else ()), *(["template-outputs"] if in_template else [])}
        if needed & set(leave_out):
            return []
        return [ending] if in_template else self.native(ending)

    def of_run(self, source: Path) -> Path:
        """Path of the transform from one of the averaged scans to the reference."""
        stem = source.name.split(".")[0].rpartition("_")[0]
        return self.folder / f"{stem}_{outputs.ending('run_transform', suffix=self.suffix)}"

    def between(self, reference: str, forward: bool, own_grid: bool) -> str:
        """Ending of the transform from this image to the reference's contrast, or back.

        Where the image itself is stored on the reference's grid, it is not what the transform starts from:
        that is the image as it was, ``origT2w``.
        """
        own = self.suffix if own_grid else f"orig{self.suffix}"
        name = "other_transform" if forward else "other_inverse_transform"
        return outputs.ending(name, suffix=reference, contrast=own)

    def in_space(self, ending: str) -> str:
        """Ending of the same in the template's space."""
        return f"{self._space.entities}_{ending}"

    @property
    def _space(self) -> spaces.Space:
        return spaces.parse(self.template)

    def transform(self, forward: bool) -> str:
        """Ending of the transform to the template, or back."""
        name = "transform" if forward else "inverse_transform"
        return outputs.ending(name, suffix=self.suffix, space=self._space.label)


def sidecars(
    names: Names,
    stripped: bool,
    notes: list[str],
    precomputed: dict[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the sidecar of every derivative on the grid of the source image.

    Parameters
    ----------
    names : Names
        Names of the participant-session's files.
    stripped : bool
        Whether the source image was skull-stripped.
    notes : list of str
        Notes of the stages.
    precomputed : dict of str to str, optional
        BIDS URIs of precomputed inputs: ``mask``, ``structures``, ``dseg``, ``GM``, ``WM``, ``CSF``. They
        are the sources of the results made of them.

    Returns
    -------
    dict of str to dict
        Contents by the ending of the file that they describe.
    """
    precomputed = precomputed or {}
    mask, structures = outputs.ending("mask"), outputs.ending("structures")
    sources = [names.uri(names.preproc), names.uri(names.native(mask)[0])]
    native = {"SpatialReference": names.uri(names.preproc) if names.averaged else names.raw}
    if "structures" in precomputed:
        sources = [precomputed["structures"]]
    segmented = {"Manual": False, "Sources": sources, **native}
    tissues = segmented | ({"Sources": [precomputed["dseg"]]} if "dseg" in precomputed else {})
    out: dict[str, dict[str, Any]] = {
        names.preproc: {
            **described("preproc"),
            "SkullStripped": stripped,
            "Sources": names.raws,
            **native,
        },
        mask: {
            **described("mask"),
            "Type": "Brain",
            "Sources": [precomputed["mask"]] if "mask" in precomputed else names.raws,
            "RawSources": [uri.removeprefix("bids:raw:") for uri in names.raws],
            **native,
        },
        outputs.ending("dseg"): {**described("dseg"), **tissues},
        structures: {**described("structures"), **segmented},
        outputs.ending("tissue"): {**described("tissue"), **segmented},
        outputs.ending("volumes"): {
            **VOLUME_COLUMNS,
            "Notes": notes,
            "Sources": [names.uri(names.native(ending)[0]) for ending in (structures, mask)],
        },
    }
    for label in labels.DSEG_NAMES:
        own = {"Sources": [precomputed[label]]} if label in precomputed else {}
        out[outputs.ending("probseg", label=label)] = described("probseg", label=label) | segmented | own
    return out


def described(name: str, **values: str) -> dict[str, Any]:
    """Return the description of an output as the beginning of its sidecar."""
    return {"Description": outputs.load()[name].description.format(**values)}


def volume_rows(
    volumes: dict[int, float],
    structures: np.ndarray,
    mask: np.ndarray,
    voxel_mm3: float,
    label_table: str = "adult",
    uncertainty: dict[int, float] | None = None,
) -> list[tuple[Any, ...]]:
    """Rows of the table of volumes: every structure of the label table, found or not."""
    table = labels.load(label_table)
    counts = np.bincount(structures.ravel().astype(np.int64), minlength=table.labels[-1].index + 1)
    brain = max(float(np.count_nonzero(mask)) * voxel_mm3, 1e-6)
    rows = []
    for label in table:
        if label.index == 0:
            continue
        soft, hard = volumes.get(label.index, 0.0), float(counts[label.index]) * voxel_mm3
        side = {"Left": "L", "Right": "R"}.get(label.name.split("-")[0], "n/a")
        unsure = f"{uncertainty[label.index]:.4f}" if uncertainty and label.index in uncertainty else "n/a"
        row = (label.index, label.name, side, f"{soft:.2f}", f"{hard:.2f}", f"{soft / brain:.6f}", unsure)
        rows.append(row)
    return rows


def label_rows(name: str) -> list[tuple[Any, ...]]:
    """Rows of a label table as the derivatives carry it."""
    return [tuple(getattr(label, column) for column in LABEL_COLUMNS) for label in labels.load(name)]


def as_stored(data: np.ndarray, on_disk: np.dtype) -> np.ndarray:
    """The bias-corrected scan in the type that suits its source.

    Whole numbers if the source has them and its range is wide enough for them to lose nothing; of a narrow
    range sixteenths, which do not either and compress well.

    Examples
    --------
    >>> as_stored(np.array([0.4, 1200.0]), np.dtype("uint16"))
    array([   0, 1200], dtype=int16)
    >>> as_stored(np.array([0.4, 90.0]), np.dtype("uint8"))
    array([ 0.375, 90.   ], dtype=float32)
    """
    low, high = float(data.min()), float(data.max())
    if np.dtype(on_disk).kind in "iu" and high - low < FEW_LEVELS:
        return (np.rint(data * 16) / 16).astype(np.float32)
    if np.dtype(on_disk).kind in "iu" and low >= -32768 and high <= 32767:
        return np.rint(data).astype(np.int16)
    return data.astype(np.float32)


def as_probability(data: np.ndarray) -> np.ndarray:
    """Probabilities rounded to what means something, float32."""
    return (np.rint(data * PROBABILITY_STEPS) / PROBABILITY_STEPS).astype(np.float32)
