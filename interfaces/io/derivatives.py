"""Names, sidecars and tables of a participant-session's derivatives, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...models.geometry.axes import occupied
from ...models.io import outputs
from ...models.population import labels
from ...models.templates import catalog, spaces

VOLUME_COLUMNS = {
    "index": {"Description": "FreeSurfer id of the structure, as in desc-aseg_dseg"},
    "name": {"Description": "Name of the structure"},
    "hemisphere": {"Description": "Side of the brain", "Levels": {"L": "left", "R": "right"}},
    "volume_mm3": {"Description": "Sum of the structure's probability over all voxels", "Units": "mm^3"},
    "volume_low_mm3": {
        "Description": "Lower end of a 95 % interval of volume_mm3 from the spread of the probabilities; "
        "errors that are the same in all scans are not included",
        "Units": "mm^3",
    },
    "volume_high_mm3": {"Description": "Upper end of that interval", "Units": "mm^3"},
    "label_volume_mm3": {"Description": "Volume of the voxels with the label", "Units": "mm^3"},
    "fraction_of_brain": {"Description": "volume_mm3 divided by the volume of the brain mask"},
    "uncertainty": {
        "Description": "Mean entropy of the structures' probabilities over the voxels with the label, "
        "divided by its maximum: 0 certain, 1 all structures equally likely"
    },
}
LABEL_COLUMNS = ("index", "name", "abbreviation", "color", "mapping")


@dataclass(frozen=True)
class Names:
    """Names of a participant-session's derivatives.

    Parameters
    ----------
    out_dir, bids_root : Path
        Root of the derivatives, and of the dataset.
    source_file : Path
        The scan.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    template : str
        Output space as the user writes it.
    averaged : tuple of Path
        Scans whose average is the reference image; empty for a single scan.
    flavor : {'fmriprep', 'nibabies', 'both'}
        Program whose names native results get: NiBabies expects ``space-T1w``, fMRIPrep no ``space-``.
    reoriented : bool
        Whether the orientation was corrected, so that the results have a grid of their own.

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
    template: str = catalog.DEFAULT
    averaged: tuple[Path, ...] = ()
    flavor: str = "fmriprep"
    reoriented: bool = False

    @property
    def suffix(self) -> str:
        """Return the suffix of the scan, such as ``T1w``."""
        return self.source_file.name.split(".")[0].rpartition("_")[2]

    @property
    def prefix(self) -> str:
        """Return the common prefix of the names: the scan's entities without those of averaged scans."""
        return self.key if self.averaged else outputs.prefix(self.source_file.name, self.key)

    @property
    def folder(self) -> Path:
        """Return the folder of the derivatives."""
        return self.out_dir.joinpath(*self.key.split("_"), "anat")

    @property
    def raw_path(self) -> str:
        """Return the path of the scan, relative to its dataset."""
        return self._in_dataset(self.source_file)

    def _in_dataset(self, path: Path) -> str:
        try:
            return path.relative_to(self.bids_root).as_posix()
        except ValueError:
            return path.name

    @property
    def raws(self) -> list[str]:
        """Return the BIDS URIs of all source scans."""
        return [f"bids:raw:{self._in_dataset(path)}" for path in self.averaged or (self.source_file,)]

    @property
    def raw(self) -> str:
        """Return the BIDS URI of the scan."""
        return f"bids:raw:{self.raw_path}"

    @property
    def preproc(self) -> str:
        """Return the ending of the bias-corrected scan."""
        return outputs.ending("preproc", suffix=self.suffix)

    @property
    def reference(self) -> str:
        """Return the BIDS URI of the image with the grid of native results."""
        return self.uri(self.preproc) if self.averaged or self.reoriented else self.raw

    def path(self, ending: str) -> Path:
        """Return the path of the derivative with an ending, such as ``dseg.nii.gz``."""
        return self.folder / f"{self.prefix}_{ending}"

    def uri(self, ending: str) -> str:
        """Return the BIDS URI of the derivative with an ending."""
        return f"bids::{self.path(ending).relative_to(self.out_dir).as_posix()}"

    def native(self, ending: str) -> list[str]:
        """Return the endings of a result on the scan's own grid, one per flavor."""
        return outputs.native_endings(ending, self.suffix, self.flavor)

    def stored(self, ending: str, leave_out: Sequence[str] = ()) -> list[str]:
        """Return the endings of a result; none if one of the steps in ``leave_out`` computes it."""
        in_template = ending.startswith(f"{self._space.entities}_")
        output = outputs.find(ending)
        needed = {*(output.when if output else ()), *(["template-outputs"] if in_template else [])}
        if needed & set(leave_out):
            return []
        return [ending] if in_template else self.native(ending)

    def of_run(self, source: Path) -> Path:
        """Return the path of the transform from one of the averaged scans to the reference image."""
        stem = source.name.split(".")[0].rpartition("_")[0]
        return self.folder / f"{stem}_{outputs.ending('run_transform', suffix=self.suffix)}"

    def between(self, reference: str, forward: bool, own_grid: bool) -> str:
        """Return the ending of the transform between this image and the reference image.

        Parameters
        ----------
        reference : str
            Suffix of the reference image.
        forward : bool
            Direction: to the reference image, or from it.
        own_grid : bool
            Whether this image is stored on its own grid; otherwise the transform's source is the original
            image, named ``origT2w``.

        Returns
        -------
        str
            Ending.
        """
        own = self.suffix if own_grid else f"orig{self.suffix}"
        name = "other_transform" if forward else "other_inverse_transform"
        return outputs.ending(name, suffix=reference, contrast=own)

    def in_space(self, ending: str) -> str:
        """Return the ending of the same derivative in the template's space."""
        return f"{self._space.entities}_{ending}"

    @property
    def _space(self) -> spaces.Space:
        return spaces.parse(self.template)

    def transform(self, forward: bool) -> str:
        """Return the ending of the transform to the template (``forward``), or from it."""
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
    native = {"SpatialReference": names.reference}
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


def mask_source(source: str) -> dict[str, str]:
    """Return the entry of a sidecar that says what made the brain mask; empty if it is not known.

    Parameters
    ----------
    source : str
        Name of a network, ``extent`` or ``precomputed``.

    Examples
    --------
    >>> mask_source("deepbet"), mask_source("")
    ({'MaskSource': 'deepbet'}, {})
    """
    return {"MaskSource": source} if source else {}


def described(name: str, **values: str) -> dict[str, Any]:
    """Return the description of an output, the first entry of its sidecar.

    Parameters
    ----------
    name : str
        Name of the output.
    **values : str
        Values of the description's fields.

    Returns
    -------
    dict
        ``Description``.
    """
    return {"Description": outputs.load()[name].description.format(**values)}


def volume_rows(
    volumes: dict[int, float],
    structures: np.ndarray,
    mask: np.ndarray,
    voxel_mm3: float,
    label_table: str = "adult",
    uncertainty: dict[int, float] | None = None,
    intervals: dict[int, tuple[float, float]] | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of the table of volumes, one per structure of the label table.

    Parameters
    ----------
    volumes : dict of int to float
        Soft volumes (mm3) by index.
    structures, mask : ndarray, shape (X, Y, Z)
        Labels, and brain mask.
    voxel_mm3 : float
        Volume of a voxel (mm3).
    label_table : str
        Label table.
    uncertainty, intervals : dict, optional
        Uncertainty, and interval (mm3) of the soft volume, by index.

    Returns
    -------
    list of tuple
        Cells in the order of ``VOLUME_COLUMNS``; a missing structure has no volume.
    """
    table = labels.load(label_table)
    inside = structures[occupied(structures)].ravel()  # the count of the background is not used
    counts = np.bincount(inside.astype(np.int64), minlength=table.labels[-1].index + 1)
    brain = max(float(np.count_nonzero(mask)) * voxel_mm3, 1e-6)
    rows = []
    for label in table:
        if label.index == 0:
            continue
        soft, hard = volumes.get(label.index, 0.0), float(counts[label.index]) * voxel_mm3
        side = {"Left": "L", "Right": "R"}.get(label.name.split("-")[0], "n/a")
        entropy = f"{uncertainty[label.index]:.4f}" if uncertainty and label.index in uncertainty else "n/a"
        ends = [f"{end:.2f}" for end in (intervals or {}).get(label.index, ())] or ["n/a", "n/a"]
        cells = (f"{soft:.2f}", *ends, f"{hard:.2f}", f"{soft / brain:.6f}", entropy)
        rows.append((label.index, label.name, side, *cells))
    return rows


def label_rows(name: str) -> list[tuple[Any, ...]]:
    """Return the rows of a label table in the derivatives.

    Parameters
    ----------
    name : str
        Label table.

    Returns
    -------
    list of tuple
        Cells in the order of ``LABEL_COLUMNS``.
    """
    return [label_cells(label) for label in labels.load(name)]


def label_cells(label: labels.Label) -> tuple[Any, ...]:
    """Return the cells of a label in the order of ``LABEL_COLUMNS``."""
    return tuple(getattr(label, column) for column in LABEL_COLUMNS)
