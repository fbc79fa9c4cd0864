"""Fetal subjects of a folder: which image belongs to which labels, and how old each fetus is.

The folder is a BIDS dataset, with or without ``anat`` and sessions, labels beside the images or under
``derivatives``; or simply a folder ``sub-*`` for each subject.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from ...models.errors import InputError, UsageError
from .ages import Ages

ENDINGS = (".nii.gz", ".nii")

NUMBERING = (
    "Say what they are with --table: feta for those of FeTA, or a TSV with the columns source and structure"
)


@dataclass(frozen=True)
class Subject:
    """A fetus in a session.

    Attributes
    ----------
    name : str
        The subject's, with the session's where there is one.
    image, labels : Path
        T2w image and its label map.
    weeks : float
        Gestational age.
    """

    name: str
    image: Path
    labels: Path
    weeks: float

    @property
    def participant(self) -> str:
        """The subject without the session."""
        return self.name.split("_")[0]


def find(folder: Path) -> list[Subject]:
    """Subjects with ``*_T2w`` and ``*_dseg`` images anywhere below a folder, in the order of their names.

    Raises
    ------
    UsageError
        If there are none.
    InputError
        If it is not clear which image belongs to a label map, or an age is not known.
    """
    images, maps = _by_subject(folder, "T2w"), _by_subject(folder, "dseg")
    if not images and not maps:
        raise UsageError(
            folder,
            "there are no subjects (sub-...) with *_T2w.nii.gz in it",
            "Give a folder of subjects, each with *_T2w.nii.gz and *_dseg.nii.gz",
        )
    if not maps:
        raise UsageError(folder, "there is no label map (*_dseg.nii.gz) in it", "Put one beside every image")
    unlabelled = sorted(set(images) - set(maps))
    if unlabelled:
        print(f"note: without a label map, and left out: {', '.join(unlabelled)}", flush=True)
    ages, out = Ages(folder), []
    for participant, found in sorted(maps.items()):
        names = _names(participant, found)
        taken: dict[Path, Path] = {}
        for name, labels in zip(names, found, strict=True):
            image = _image_of(labels, images.get(participant, []))
            if image in taken:
                raise InputError(
                    labels,
                    f"{taken[image]} is a label map of {image.name} as well",
                    "Leave one of them there",
                )
            taken[image] = labels
            out.append(Subject(name, image, labels, ages(participant, _session(labels) or _session(image))))
    ages.told()
    return out


def subject(folder: Path) -> Subject:
    """The one subject of a folder ``sub-*``."""
    maps = [path for path in _images(folder) if _suffix(path) == "dseg"]
    if not maps:
        raise InputError(folder, "there is no label map (*_dseg.nii.gz) in it", "Put one beside the image")
    images = [path for path in _images(folder) if _suffix(path) == "T2w"]
    return Subject(folder.name, _image_of(maps[0], images), maps[0], Ages(folder.parent)(folder.name, None))


def read(given: Subject, source: dict[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, labels and affine, upright and cropped to the brain.

    Parameters
    ----------
    given : Subject
        Whose files are read.
    source : dict of int to int
        For every value of the label map the one in the fetal sources' table.

    Raises
    ------
    InputError
        If a file cannot be read, the grids differ, or a label is not known.
    """
    image, pixels = _loaded(given.image)
    truth, values = _loaded(given.labels)
    if pixels.shape != values.shape or not np.allclose(image.affine, truth.affine, atol=1e-2):
        raise InputError(given.labels, f"its grid is not that of {given.image}", "Resample one of them")
    labels = _in_sources(values, source, given.labels)
    image = nib.as_closest_canonical(nib.Nifti1Image(pixels, image.affine))
    labels = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(labels, truth.affine)).dataobj)
    index = np.argwhere(labels > 0)
    if not len(index):
        raise InputError(given.labels, "it is empty: every label is background", "Leave the subject out")
    low, high = np.maximum(index.min(0) - 4, 0), index.max(0) + 5
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return np.asarray(image.dataobj, np.float32)[box], labels[box].astype(np.uint8), affine


def check_contrast(image: np.ndarray, labels: np.ndarray, given: Subject) -> None:
    """Refuse labels that cannot be what their numbers say: fluid is bright in a T2w image.

    Other numberings have the same range of numbers, so nothing else would tell them.
    """
    inside = [image[labels == value] for value in (2, 1)]
    if any(len(values) == 0 for values in inside):
        return
    ventricles, white = (float(np.median(values)) for values in inside)
    if ventricles < 0.8 * white:
        raise InputError(
            given.labels,
            f"what should be ventricles (median {ventricles:.0f}) is darker in {given.image.name} than what "
            f"should be white matter ({white:.0f}): the labels seem to be numbered otherwise",
            NUMBERING,
        )


def _loaded(path: Path):
    try:
        image = nib.load(path)
        values = np.asarray(image.dataobj)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(path, f"it cannot be read ({error})", "Fetch it again, or leave it out") from None
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(path, f"it has {values.ndim} dimensions", "Give one volume")
    values = np.nan_to_num(values) if values.dtype.kind == "f" else values
    return image, values.astype(np.float32)


def _in_sources(values: np.ndarray, source: dict[int, int], path: Path) -> np.ndarray:
    unknown = sorted(set(np.unique(values).tolist()) - set(source))
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        raise InputError(path, f"its labels {shown} are not in the table of labels", NUMBERING)
    out = np.zeros(values.shape, np.uint8)
    for value, own in source.items():
        out[values == value] = own
    return out


def _suffix(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name).rpartition("_")[2]


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name.endswith(ENDINGS) and path.is_file())


def _by_subject(folder: Path, suffix: str) -> dict[str, list[Path]]:
    """Images of a suffix by their subject: the nearest folder ``sub-*``, else the file's own name."""
    out: dict[str, list[Path]] = {}
    for path in _images(folder):
        if _suffix(path) != suffix:
            continue
        above = [part for part in path.relative_to(folder).parts[:-1] if part.startswith("sub-")]
        label = above[-1] if above else path.name.split("_")[0]
        if label.startswith("sub-"):
            out.setdefault(label, []).append(path)
    return out


def _session(path: Path) -> str | None:
    found = re.search(r"(?:^|_)ses-([a-zA-Z0-9+]+)_", path.name)
    if found:
        return found[1]
    return next((part[4:] for part in reversed(path.parts[:-1]) if part.startswith("ses-")), None)


def _names(participant: str, found: list[Path]) -> list[str]:
    """A name for every label map of a subject; all differ."""
    sessions = [_session(path) for path in found]
    names = [f"{participant}_ses-{session}" if session else participant for session in sessions]
    if len(set(names)) == len(names):
        return names
    return [f"{name}_{number}" for number, name in enumerate(names, 1)]


def _image_of(labels: Path, images: list[Path]) -> Path:
    """The image of a label map: of the same name, else the only one beside it or in its session."""
    stem = re.sub(r"(_desc-[a-zA-Z0-9+]+)?(_T2w)?_dseg\.nii(\.gz)?$", "", labels.name)
    same = [path for path in images if re.sub(r"_T2w\.nii(\.gz)?$", "", path.name) == stem]
    beside = [path for path in images if path.parent == labels.parent]
    session = [path for path in images if _session(path) == _session(labels)]
    for choice in (same, beside, session):
        if len(choice) == 1:
            return choice[0]
    count = len(same or beside or session)
    many = f"{count} T2w images could belong to it" if count else "there is no *_T2w.nii.gz of its subject"
    raise InputError(labels, many, "Name the image as the label map, with _T2w in place of _dseg")
