"""Score segmentations against references: two files, or two folders whose files are matched by name."""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...models.errors import InputError, MissingFileError, UsageError
from ...models.geometry.volume import Volume, resample
from ...models.io import atomic
from ...models.population import labels
from .metrics import agreement

if TYPE_CHECKING:
    import pandas as pd

IGNORED = -1
"""Value of reference voxels that are not scored: ``n/a`` in a mapping."""

LOOSE = {"desc", "space", "seg", "atlas", "label", "res", "den", "hemi"}
"""BIDS entities in which a reference and the prediction for it may differ."""

PLACE = ("space", "cohort", "res")
"""Those of them that say on which grid labels lie: of several predictions the reference's is meant."""

COLUMNS = [
    "case",
    "index",
    "name",
    "dice",
    "hd95_mm",
    "assd_mm",
    "reference_mm3",
    "predicted_mm3",
    "volume_error_percent",
]


@dataclass(frozen=True)
class Mapping:
    """A labelling protocol in terms of ours.

    Attributes
    ----------
    name : str
        Of the table.
    structure : dict of int to int
        Label of the protocol to a FreeSurfer id, 0 (background) or ``IGNORED``.
    """

    name: str
    structure: dict[int, int]

    @property
    def structures(self) -> set[int]:
        """Structures that the protocol knows."""
        return {s for s in self.structure.values() if s > 0}

    def apply(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Map label values; one that the table lacks is an error that names it."""
        found = np.unique(values)
        unknown = sorted(set(found.tolist()) - set(self.structure))
        if unknown:
            raise InputError(
                path, f"its labels {unknown} are not in the mapping {self.name}", "Add them to the table"
            )
        mapped = np.array([self.structure[int(v)] for v in found], np.int32)
        return mapped[np.searchsorted(found, values)]


def read_mapping(name: str) -> Mapping:
    """Read a table with the columns ``index``, ``name`` and ``structure``.

    Parameters
    ----------
    name : str
        A TSV file, or the name of a table that the package ships (``neuromorphometrics``).
    """
    path = Path(name)
    if not path.is_file():
        path = Path(str(files("brainseg.training") / "sources" / f"{name}.tsv"))
    if not path.is_file():
        shipped = "neuromorphometrics"
        raise MissingFileError(
            name, "no such mapping", f"Give a TSV file, or the name of a shipped one: {shipped}"
        )
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    if not rows or not {"index", "structure"} <= set(rows[0]):
        raise InputError(
            path, "a mapping needs the columns index and structure", "The third column, name, is for readers"
        )
    try:
        table = {int(r["index"]): IGNORED if r["structure"] == "n/a" else int(r["structure"]) for r in rows}
    except (TypeError, ValueError) as error:
        raise InputError(path, f"index and structure must be integers or n/a ({error})") from None
    return Mapping(path.stem, table)


def evaluate(
    reference: Path,
    predicted: Path,
    *,
    mapping: Mapping | None = None,
    resampled: bool = False,
    surfaces: bool = True,
) -> list[dict]:
    """Score one segmentation.

    Parameters
    ----------
    reference, predicted : Path
        Label images; they may be stored in different orientations.
    mapping : Mapping, optional
        What the labels of the reference are in terms of ours; without it both use the same ids.
    resampled : bool
        Bring a prediction on another grid to the reference's (nearest neighbour) instead of refusing it.
    surfaces : bool
        Whether to compute the distances between surfaces.

    Returns
    -------
    list of dict
        One row a structure that is in the reference, or in the prediction and known to the protocol.

    Raises
    ------
    InputError
        If a file is not a label image, or the grids differ.
    """
    truth, found = read_labels(reference), read_labels(predicted)
    if not _same_grid(truth, found):
        if not resampled:
            raise InputError(
                predicted,
                f"its grid ({_grid(found)}) is not that of {reference} ({_grid(truth)})",
                "Predict on the reference's grid, or ask for resampling",
            )
        found = resample(found, truth.grid, mode="nearest")
    return compare(truth, found, path=reference, mapping=mapping, surfaces=surfaces)


def compare(
    truth: Volume, found: Volume, *, path: Path, mapping: Mapping | None = None, surfaces: bool = True
) -> list[dict]:
    """Like :func:`evaluate` for two volumes of labels on one grid; ``path`` is named in errors."""
    a, b = truth.data.numpy(), found.data.numpy()
    if mapping is not None:
        a = mapping.apply(a, path)
        b = np.where(a == IGNORED, 0, b)
    known = mapping.structures if mapping else None
    present = {int(v) for v in np.unique(a)} | {
        int(v) for v in np.unique(b) if known is None or int(v) in known
    }
    rows = []
    for index in sorted(v for v in present if v > 0):
        scores = asdict(agreement(a == index, b == index, truth.grid.spacing, surfaces=surfaces))
        rows.append({"index": index, "name": structure_name(index)} | scores)
    return rows


def evaluate_paths(
    ref: Path | str,
    pred: Path | str,
    mapping: str | None = None,
    out: Path | str | None = None,
    *,
    resampled: bool = False,
    surfaces: bool = True,
) -> pd.DataFrame:
    """Score a file against a file, or a folder against a folder.

    Parameters
    ----------
    ref, pred : path-like
        References and predictions.
    mapping : str, optional
        Name or path of a mapping table.
    out : path-like, optional
        TSV to write.
    resampled, surfaces : bool
        See :func:`evaluate`.

    Returns
    -------
    DataFrame
        One row a case and structure (``COLUMNS``).

    Raises
    ------
    UsageError
        If a folder is given with a file.
    InputError
        If a reference has no prediction, or more than one.
    """
    import pandas as pd

    table = read_mapping(mapping) if mapping else None
    rows = []
    for case, reference, predicted in pairs(Path(ref), Path(pred), mapped=table is not None):
        found = evaluate(reference, predicted, mapping=table, resampled=resampled, surfaces=surfaces)
        rows += [{"case": case} | row for row in found]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    if out is not None:
        write(frame, Path(out))
    return frame


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over the cases by structure; volume errors without sign. Indexed by ``index`` and ``name``."""
    frame = frame.assign(volume_error_percent=frame.volume_error_percent.abs())
    grouped = frame.groupby(["index", "name"])
    out = grouped[["dice", "hd95_mm", "assd_mm", "volume_error_percent"]].mean()
    return out.assign(cases=grouped.size())


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a TSV, never a partial one."""
    with atomic.replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.4f")


def read_labels(path: Path) -> Volume:
    """Read a label image in canonical orientation as int32.

    Raises
    ------
    InputError
        If it cannot be read, is not 3-D, or holds values that are not whole numbers.
    """
    import nibabel as nib

    if not path.exists():
        raise InputError(path, "the file does not exist")
    try:
        image = nib.load(path)
        values = np.asarray(image.dataobj)
    except Exception as error:  # damaged files fail in as many ways as there are readers
        raise InputError(path, f"it cannot be read ({type(error).__name__}: {error})") from None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(path, f"it is not a 3-D label image (shape {values.shape})")
    if not np.isfinite(values).all() or not (values == np.round(values)).all():
        raise InputError(
            path, "it holds values that are not whole numbers", "Give a segmentation, not an image"
        )
    return Volume(torch.from_numpy(values.astype(np.int32)), np.asarray(image.affine, float)).canonical()


def pairs(ref: Path, pred: Path, *, mapped: bool = False) -> list[tuple[str, Path, Path]]:
    """Case name, reference and prediction of every case.

    Two files are one case. In two folders, BIDS files match when all entities but ``LOOSE`` ones agree as
    far as both names have them. Of several, those in the reference's space are kept, then the one with its
    description, else the one that holds what its labels are: ``desc-aseg`` for structures, which they also
    are once ``mapped``, and the one without a description for three tissues. Other files match by their
    path in the folder, else by their name.
    """
    for path in (ref, pred):
        if not path.exists():
            raise MissingFileError(path, "no such file or folder")
    if ref.is_file() and pred.is_file():
        return [(_stem(ref), ref, pred)]
    if ref.is_file() or pred.is_file():
        one, many = (ref, pred) if ref.is_file() else (pred, ref)
        raise UsageError(one, f"it is a file, but {many} is a folder", "Give two files or two folders")
    references, candidates = _label_files(ref), _label_files(pred)
    if not references:
        raise InputError(ref, "there are no NIfTI files in it")
    out, missing = [], []
    for reference in references:
        found = _match(reference, ref, candidates, pred, mapped)
        if found is None:
            missing.append(str(reference.relative_to(ref)))
        else:
            out.append((_stem(reference), reference, found))
    if missing:
        raise InputError(
            pred,
            f"no prediction for {', '.join(missing)}",
            "Every reference needs one: a missing one would flatter",
        )
    return out


def _label_files(folder: Path) -> list[Path]:
    """NIfTI files of a folder; where some are BIDS segmentations, only those."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.endswith((".nii", ".nii.gz"))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return [path for path in found if _stem(path).endswith("_dseg")] or found


def _match(reference: Path, ref: Path, candidates: list[Path], pred: Path, mapped: bool) -> Path | None:
    wanted = _entities(reference)
    if "sub" not in wanted:
        same = [c for c in candidates if c.relative_to(pred) == reference.relative_to(ref)]
        same = same or [c for c in candidates if _stem(c) == _stem(reference)]
    else:
        same = [c for c in candidates if _agree(wanted, _entities(c))]
        if len(same) > 1:
            same = _closest(reference, same, mapped)
    if len(same) > 1:
        names = ", ".join(str(c.relative_to(pred)) for c in same)
        raise InputError(reference, f"more than one prediction matches it: {names}", "Score them one by one")
    return same[0] if same else None


def _closest(reference: Path, same: list[Path], mapped: bool) -> list[Path]:
    """Of several predictions those in the reference's space, then of what its labels are."""
    wanted = _entities(reference)
    for entity in PLACE:
        closer = [c for c in same if _entities(c).get(entity) == wanted.get(entity)]
        if not closer:
            return same
        same = closer
    for desc in _descriptions(reference, mapped) if len(same) > 1 else []:
        closer = [c for c in same if _entities(c).get("desc") == desc]
        if closer:
            return closer
    return same


def _descriptions(reference: Path, mapped: bool) -> list[str | None]:
    """Descriptions of predictions that fit a reference, the best first; None is a name without one."""
    own = _entities(reference).get("desc")
    present = set(np.unique(read_labels(reference).data.numpy()).tolist()) - {0}
    if mapped or 1 not in present:
        return [own, "aseg"] if own else ["aseg", None]
    if present <= set(labels.load("dseg").by_index):
        return [own, None]
    return [own] if own else []


def _agree(wanted: dict[str, str], found: dict[str, str]) -> bool:
    if wanted["sub"] != found.get("sub"):
        return False
    return all(found[k] == v for k, v in wanted.items() if k in found and k not in LOOSE)


def _entities(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", _stem(path)))


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name)


def _same_grid(a: Volume, b: Volume) -> bool:
    return a.grid.shape == b.grid.shape and np.allclose(a.affine, b.affine, atol=1e-2)


def _grid(volume: Volume) -> str:
    shape = "x".join(map(str, volume.grid.shape))
    size = "x".join(f"{s:.3g}" for s in volume.grid.spacing)
    start = ", ".join(f"{x:.1f}" for x in volume.affine[:3, 3])
    return f"{shape} voxels of {size} mm from ({start})"


@cache
def structure_name(index: int) -> str:
    """Name of a FreeSurfer id in the adult table, else the number."""
    table = labels.load("adult")
    return table[index].name if index in table.by_index else str(index)
