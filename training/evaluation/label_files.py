"""Label images on disk: read one, and match those of two folders by name."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch

from ...models.errors import InputError, MissingFileError, UsageError
from ...models.geometry.volume import Volume
from ...models.io.folders import IMAGES, files_below
from ...models.io.images import open_image
from ...models.population import label_sets

LOOSE = {"desc", "space", "seg", "atlas", "label", "res", "den", "hemi"}
"""BIDS entities in which a reference and its prediction can differ."""

SURFER = ("aparc.DKTatlas+aseg.deep.mgz", "aparc.DKTatlas+aseg.mgz", "aparc+aseg.mgz", "aseg.mgz")
"""Segmentations in the folder ``mri`` of a participant of FastSurfer or FreeSurfer, the first counts."""

PLACE = ("space", "cohort", "res")
"""Entities of the grid: of several predictions, the one on the grid of the reference is scored."""


def read_labels(path: Path) -> Volume:
    """Return a label image in canonical orientation as int32.

    Raises
    ------
    InputError
        If it cannot be read, is not 3-D, or is no label image.
    """
    if not path.exists():
        raise InputError(path, "the file does not exist")
    try:
        image = open_image(path)
        values = np.asarray(image.dataobj)
    except Exception as error:  # damaged files fail in as many ways as there are readers
        raise InputError(path, f"the file cannot be read ({type(error).__name__}: {error})") from None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(path, f"not a 3-D label image (shape {values.shape})")
    label_sets.check_labels(values, path)
    return Volume(torch.from_numpy(values.astype(np.int32)), np.asarray(image.affine, float)).canonical()


def pairs(ref: Path, pred: Path, *, mapped: bool = False) -> list[tuple[str, Path, Path]]:
    """Return name, reference and prediction of every case.

    Two files are one case. In two folders, BIDS files match if all entities but :data:`LOOSE` that both names
    have agree. Of several predictions, those in the space of the reference are kept, then the one with its
    description, otherwise the one with the same kind of labels: ``desc-aseg`` for structures (and for mapped
    labels), no description for the three tissues. Other files match by their path in the folder, otherwise by
    their name. A folder of FreeSurfer or FastSurfer has one segmentation of each participant
    (:data:`SURFER`).

    Parameters
    ----------
    ref, pred : Path
        Two files or two folders.
    mapped : bool
        Whether the labels of the references are mapped to FreeSurfer ids.

    Raises
    ------
    MissingFileError
        If a path does not exist.
    UsageError
        If one path is a file and the other a folder.
    InputError
        If a reference has no prediction, or more than one.
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
        raise InputError(ref, "there are no NIfTI files in the folder")
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
            "Add them: without them the mean would be too high",
        )
    return out


def _label_files(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder; only BIDS segmentations if there are any.

    Without NIfTI files, they are the segmentations of FreeSurfer and FastSurfer: one of each participant.
    """
    found = files_below(folder, *IMAGES)
    if found:
        return [path for path in found if _stem(path).endswith("_dseg")] or found
    volumes = files_below(folder, *SURFER)
    best: dict[Path, Path] = {}
    for pattern in SURFER:
        for path in volumes:
            if fnmatch(path.name, pattern):
                best.setdefault(path.parent, path)
    return sorted(best.values())


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
    """Return the predictions in the space of the reference, then those with the same kind of labels."""
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
    """Return the descriptions of predictions that fit a reference, best first; None is no description."""
    own = _entities(reference).get("desc")
    present = set(np.unique(read_labels(reference).data.numpy()).tolist()) - {0}
    fits = label_sets.fitting(present)
    if mapped or 1 not in present:
        return [own, "aseg"] if own else ["aseg", None]
    if "dseg" in fits:
        return [own, None]
    return [own] if own else []


def _agree(wanted: dict[str, str], found: dict[str, str]) -> bool:
    if wanted["sub"] != found.get("sub"):
        return False
    return all(found[k] == v for k, v in wanted.items() if k in found and k not in LOOSE)


def _entities(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", _stem(path)))


def _stem(path: Path) -> str:
    """Return the name of a case: of the file, of FreeSurfer's volumes of the participant's folder."""
    if path.parent.name == "mri" and path.suffix == ".mgz":
        return path.parent.parent.name
    return re.sub(r"\.nii(\.gz)?$", "", path.name)
