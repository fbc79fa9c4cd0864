"""Label maps into prepared arrays: what a training run reads, with nothing but torch and numpy.

For each map: the labels as positions in the source table (uint8, RAS, 1 mm, cropped to the head), the
signed distance to the brain's surface at 2 mm, and the affine that takes its millimetres to the atlas
frame, which is the mean position of the structures over all maps.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...models.errors import InputError, MissingFileError
from ...models.geometry.affine import fit_affine
from ...models.geometry.distance import closed, signed_distance

if TYPE_CHECKING:
    import nibabel as nib

DISTANCE_UNIT = 0.25
"""Millimetres in one step of the stored signed distance."""


@dataclass(frozen=True)
class Source:
    """The source table as columns; every array is indexed by position in ``values``.

    Attributes
    ----------
    values : ndarray of int
        The label values in the maps.
    contrast : ndarray of int
        Position in ``classes``: labels that share one intensity distribution.
    structure : ndarray of int
        FreeSurfer id without side that the label trains, 0 for background.
    side : ndarray of int
        1 left, 0 right, -1 neither.
    tissue : ndarray of bool
        Whether the label is inside the brain before closing.
    classes : ndarray of int
        The values that name the intensity classes.
    means : dict of str to ndarray
        For each contrast the class means (0-255), NaN where unknown.
    lesion : ndarray of int
        Position of the label that a lesion in it has, -1 where lesions are not pasted (column ``lesion``).
    meta : ndarray of int
        Meta-label for subclasses by EM, 0 for none (column ``meta``).
    """

    values: np.ndarray
    contrast: np.ndarray
    structure: np.ndarray
    side: np.ndarray
    tissue: np.ndarray
    classes: np.ndarray
    means: dict[str, np.ndarray]
    lesion: np.ndarray
    meta: np.ndarray


NEEDED = ("source", "contrast_class", "structure", "side", "tissue_of_brain")
"""Columns that a table for heads has at the least."""


def table_path(name: str) -> Path:
    """A source table's file: a TSV file, or the name of one that the package ships.

    Raises
    ------
    MissingFileError
        If there is neither.
    """
    path, folder = Path(name), Path(str(files("brainseg.training") / "sources"))
    if path.suffix != ".tsv":
        path = folder / f"{name}.tsv"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in folder.glob("*.tsv")))
        raise MissingFileError(
            name, "there is no such source table", f"Give a .tsv file, or headmaps (shipped are {shipped})"
        )
    return path


def table_rows(name: str, needed: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a source table (:func:`table_path`).

    Raises
    ------
    InputError
        If it has no rows, or lacks a column, or a cell of ``source``, ``structure`` or ``meta`` is no number.
    """
    path = table_path(name)
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except ValueError as error:
        raise InputError(path, f"it is no text ({error})", "Save it as tab-separated text") from None
    if not rows:
        raise InputError(path, "the source table has no rows", "Give a line for each label")
    for column in needed:
        if column not in rows[0]:
            remedy = "Add it, or choose another with --table"
            if column == "contrast_class" and {"meta", "structure"} <= set(rows[0]):
                remedy = "It is for fetal images with labels: brainseg train fetal --maps FOLDER"
            if column == "meta":
                remedy = "Add it: 1, 2, ... or 0"
            raise InputError(None, f"the source table {name} has no column {column}", remedy)
    for column in set(needed) & {"source", "structure", "meta"}:
        wrong = [row[column] for row in rows if not re.fullmatch(r"\s*-?\d+\s*|", row[column] or "")]
        wrong += [""] if column == "source" and not all(row[column] for row in rows) else []
        if wrong:
            raise InputError(path, f"{wrong[0]!r} in its column {column} is no number", "Correct the table")
    return rows


def source_table(name: str = "headmaps") -> Source:
    """Read a source table for heads: a TSV file, or the name of one that the package ships.

    Raises
    ------
    MissingFileError
        If there is neither.
    InputError
        If it lacks a column.
    """
    rows = table_rows(name, NEEDED)
    classes = sorted({int(row["contrast_class"]) for row in rows})
    first = {int(row["contrast_class"]): row for row in reversed(rows)}
    number = lambda text: np.nan if text == "n/a" else float(text)  # noqa: E731
    contrasts = [c for c in rows[0] if c.endswith("w") or c == "FLAIR"]
    values = [int(row["source"]) for row in rows]
    lesions = [row.get("lesion") or "n/a" for row in rows]
    return Source(
        values=np.array(values),
        lesion=np.array([-1 if text == "n/a" else values.index(int(text)) for text in lesions]),
        meta=np.array([int(row.get("meta") or 0) for row in rows]),
        contrast=np.array([classes.index(int(row["contrast_class"])) for row in rows]),
        structure=np.array([int(row["structure"]) for row in rows]),
        side=np.array([{"left": 1, "right": 0}.get(row["side"], -1) for row in rows]),
        tissue=np.array([row["tissue_of_brain"] == "1" for row in rows]),
        classes=np.array(classes),
        means={c: np.array([number(first[k][c]) for k in classes], np.float32) for c in contrasts},
    )


def positions(values: np.ndarray, known: np.ndarray, path: Path, table: str) -> np.ndarray:
    """Positions in the source table, whose values are ``known``, of label values, as uint8.

    Raises
    ------
    InputError
        If the table lacks a value; it names file and values.
    """
    unknown = sorted(set(np.unique(values).tolist()) - set(known.tolist()))
    if unknown:
        raise InputError(
            path,
            f"its labels {unknown} are not in the source table {table}",
            "Add them to the table, or choose another with --table",
        )
    position = np.zeros(known.max() + 1, np.uint8)
    position[known] = np.arange(len(known))
    return position[values]


def centroids(labels: np.ndarray, source: Source, affine: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Centroid (mm) of every structure and side."""
    key = np.where(source.structure > 0, source.structure * 4 + source.side + 1, 0)
    keys = key[labels]
    found = [k for k in np.unique(keys) if k > 0 and k // 4 != 24]
    points = ndimage.center_of_mass(np.ones(keys.shape, np.uint8), keys, found)
    xyz = np.asarray(points) @ affine[:3, :3].T + affine[:3, 3]
    return {(int(k) // 4, int(k) % 4 - 1): p for k, p in zip(found, xyz, strict=True)}


def prepare(paths: list[Path], out: Path, table: str = "headmaps", seeds: list[Path] | None = None) -> None:
    """Write ``out`` (npz) from label maps.

    Parameters
    ----------
    paths : list of Path
        NIfTI label maps whose values all stand in the source table.
    out : Path
        File to write.
    table : str
        Source table (:func:`source_table`).
    seeds : list of Path, optional
        Subclasses of every map, from :func:`brainseg.training.data.intensity_classes.write_seeds`.

    Raises
    ------
    InputError
        If a map holds a value that the table lacks, or its seeds lie on another grid.
    """
    import nibabel as nib  # not at the top: a machine that only trains has none

    source = source_table(table)
    arrays: dict[str, np.ndarray] = {}
    points, affines = [], []
    for number, path in enumerate(paths):
        image = nib.as_closest_canonical(nib.load(path))
        values = np.asarray(image.dataobj).astype(np.int32)
        whole = positions(values, source.values, path, table)
        box = tuple(slice(max(a.min() - 1, 0), a.max() + 2) for a in np.nonzero(values))
        labels = whole[box]
        if seeds:
            arrays[f"seeds{number}"] = _read_seeds(seeds[number], image)[box]
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        distance = signed_distance(closed(source.tissue[labels]))[::2, ::2, ::2]
        arrays[f"labels{number}"] = labels
        arrays[f"distance{number}"] = np.clip(distance / DISTANCE_UNIT, -127, 127).round().astype(np.int8)
        points.append(centroids(labels, source, affine))
        affines.append(affine)
    mean = _mean_centroids(points)
    for number, (own, affine) in enumerate(zip(points, affines, strict=True)):
        shared = sorted(set(own) & set(mean))
        to_atlas = fit_affine(np.array([own[k] for k in shared]), np.array([mean[k] for k in shared]))
        arrays[f"affine{number}"] = affine
        arrays[f"atlas{number}"] = to_atlas @ affine
    atlas = {f"{s}:{side}": point.tolist() for (s, side), point in sorted(mean.items())}
    meta = {"count": len(paths), "table": table, "centroids": atlas, "names": [p.name for p in paths]}
    np.savez_compressed(out, meta=np.array(json.dumps(meta)), **arrays)


def check_kind(meta: dict[str, Any], wanted: str, path: Path) -> None:
    """Refuse prepared arrays of another kind than ``heads`` or ``fetuses``.

    Raises
    ------
    InputError
        If they are not what is wanted.
    """
    kind = "heads" if "centroids" in meta else "fetuses" if "weeks" in meta else "something else"
    if kind != wanted:
        how = {"heads": "brainseg train prepare OUT MAP ...", "fetuses": "brainseg train fetal --maps FOLDER"}
        raise InputError(
            path,
            f"these arrays are of {kind}, and {wanted} are needed",
            f"Name a recipe for them (--recipe in synth preview), or make them with: {how[wanted]}",
        )


def _read_seeds(path: Path, like: nib.spatialimages.SpatialImage) -> np.ndarray:
    import nibabel as nib

    from .intensity_classes import pack

    image = nib.as_closest_canonical(nib.load(path))
    if image.shape[:3] != like.shape[:3] or not np.allclose(image.affine, like.affine, atol=1e-2):
        raise InputError(path, "it does not lie on its label map's grid", "Make it again from that map")
    return pack(np.asarray(image.dataobj))


def _mean_centroids(points: list[dict]) -> dict[tuple[int, int], np.ndarray]:
    """Mean centroids over the maps, made symmetric about x = 0, the origin in the middle of the brain."""
    shared = sorted(set.intersection(*map(set, points)))
    each = np.array([[own[k] for k in shared] for own in points])
    each -= each.mean(1, keepdims=True)
    mean = each.mean(0)
    for _ in range(3):
        moved = []
        for own in each:
            matrix = fit_affine(own, mean)
            moved.append(own @ matrix[:3, :3].T + matrix[:3, 3])
        mean = np.mean(moved, 0) * (np.std(each) / np.std(moved))
    out = dict(zip(shared, mean, strict=True))
    flip = np.array([-1.0, 1.0, 1.0])
    other = {k: (k[0], 1 - k[1]) if k[1] >= 0 else k for k in shared}
    return {k: (out[k] + flip * out[other[k]]) / 2 for k in shared if other[k] in out}
