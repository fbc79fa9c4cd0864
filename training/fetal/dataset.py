"""Fetal subjects of a folder: images, labels and gestational ages.

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
from ...models.io.folders import IMAGES, files_below
from ...models.io.images import open_image
from ...models.population import label_sets
from .ages import Ages

NUMBERING = (
    "Say what they are with --table: feta for those of FeTA, or a TSV with the columns source and structure"
)


@dataclass(frozen=True)
class Subject:
    """A fetus in a session.

    Attributes
    ----------
    name : str
        Name of the subject, with the session if there is one.
    image, labels : Path
        T2w image and label map.
    weeks : float
        Gestational age (weeks).
    """

    name: str
    image: Path
    labels: Path
    weeks: float

    @property
    def participant(self) -> str:
        """Name of the subject without the session."""
        return self.name.split("_")[0]


def find(folder: Path) -> list[Subject]:
    """Return the subjects with ``*_T2w`` and ``*_dseg`` images below a folder, in alphabetical order.

    Raises
    ------
    UsageError
        If there are no subjects.
    InputError
        If the image of a label map is ambiguous, or an age is unknown.
    """
    images, maps = _by_subject(folder, "T2w"), _by_subject(folder, "dseg")
    if not images and not maps:
        raise UsageError(
            folder,
            "there are no subjects (sub-...) with *_T2w.nii.gz in the folder",
            "Give a folder of subjects, each with *_T2w.nii.gz and *_dseg.nii.gz",
        )
    if not maps:
        raise UsageError(
            folder, "there is no label map (*_dseg.nii.gz) in the folder", "Put one beside every image"
        )
    unlabeled = sorted(set(images) - set(maps))
    if unlabeled:
        print(f"note: subjects without a label map are excluded: {', '.join(unlabeled)}", flush=True)
    ages, out = Ages(folder), []
    for participant, found in sorted(maps.items()):
        names = _names(participant, found)
        taken: dict[Path, Path] = {}
        for name, labels in zip(names, found, strict=True):
            image = _image_of(labels, images.get(participant, []))
            if image in taken:
                raise InputError(
                    labels,
                    f"{taken[image]} is a label map of {image.name} too",
                    "Keep one of them",
                )
            taken[image] = labels
            out.append(Subject(name, image, labels, ages(participant, _session(labels) or _session(image))))
    ages.report()
    return out


def subject(folder: Path) -> Subject:
    """Return the subject of a folder ``sub-*``.

    Raises
    ------
    InputError
        If there is no label map, its image is ambiguous, or the age is unknown.
    """
    maps = [path for path in _images(folder) if _suffix(path) == "dseg"]
    if not maps:
        raise InputError(
            folder, "there is no label map (*_dseg.nii.gz) in the folder", "Put one beside the image"
        )
    images = [path for path in _images(folder) if _suffix(path) == "T2w"]
    return Subject(folder.name, _image_of(maps[0], images), maps[0], Ages(folder.parent)(folder.name, None))


def read(given: Subject, source: dict[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image, labels and affine in canonical orientation, cropped to the brain.

    Parameters
    ----------
    given : Subject
        Subject to read.
    source : dict of int to int
        Value in the fetal source table for every value of the label map.

    Raises
    ------
    InputError
        If a file cannot be read, the grids differ, or a label is unknown.
    """
    image, pixels = _loaded(given.image)
    truth, values = _loaded(given.labels)
    if pixels.shape != values.shape or not np.allclose(image.affine, truth.affine, atol=1e-2):
        raise InputError(given.labels, f"the grid differs from {given.image}", "Resample one of them")
    label_sets.check_labels(values, given.labels)
    labels = _in_sources(values, source, given.labels)
    image = nib.as_closest_canonical(nib.Nifti1Image(pixels, image.affine))
    labels = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(labels, truth.affine)).dataobj)
    index = np.argwhere(labels > 0)
    if not len(index):
        raise InputError(given.labels, "the label map is empty", "Exclude the subject")
    low, high = np.maximum(index.min(0) - 4, 0), index.max(0) + 5
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return np.asarray(image.dataobj, np.float32)[box], labels[box].astype(np.uint8), affine


def check_contrast(image: np.ndarray, labels: np.ndarray, given: Subject) -> None:
    """Refuse labels with another numbering, from the intensities: fluid is bright in a T2w image.

    Other protocols use the same range of values.

    Parameters
    ----------
    image, labels : ndarray, shape (X, Y, Z)
        Intensities and labels.
    given : Subject
        Subject, for the error message.

    Raises
    ------
    InputError
        If the ventricles are darker than the white matter.
    """
    inside = [image[labels == value] for value in (2, 1)]
    if any(len(values) == 0 for values in inside):
        return
    ventricles, white = (float(np.median(values)) for values in inside)
    if ventricles < 0.8 * white:
        raise InputError(
            given.labels,
            f"the ventricles (median {ventricles:.0f}) are darker in {given.image.name} than the white "
            f"matter ({white:.0f}): the labels seem to be numbered otherwise",
            NUMBERING,
        )


def _loaded(path: Path):
    try:
        image = open_image(path)
        values = np.asarray(image.dataobj)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            path, f"the file cannot be read ({error})", "Download it again, or exclude it"
        ) from None
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(path, f"the image has {values.ndim} dimensions", "Give one volume")
    values = np.nan_to_num(values) if values.dtype.kind == "f" else values
    return image, values.astype(np.float32)


def _in_sources(values: np.ndarray, source: dict[int, int], path: Path) -> np.ndarray:
    unknown = sorted(set(np.unique(values).tolist()) - set(source))
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        raise InputError(path, f"the labels {shown} are not in the source table", NUMBERING)
    out = np.zeros(values.shape, np.uint8)
    for value, own in source.items():
        out[values == value] = own
    return out


def _suffix(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name).rpartition("_")[2]


def _images(folder: Path) -> list[Path]:
    return files_below(folder, *IMAGES)


def _by_subject(folder: Path, suffix: str) -> dict[str, list[Path]]:
    """Return the images with a suffix by subject: the nearest folder ``sub-*``, or the file name."""
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
    """Return a unique name for every label map of a subject."""
    sessions = [_session(path) for path in found]
    names = [f"{participant}_ses-{session}" if session else participant for session in sessions]
    if len(set(names)) == len(names):
        return names
    return [f"{name}_{number}" for number, name in enumerate(names, 1)]


def _image_of(labels: Path, images: list[Path]) -> Path:
    """Return the image of a label map: of the same name, or the only one beside it or in its session."""
    stem = re.sub(r"(_desc-[a-zA-Z0-9+]+)?(_T2w)?_dseg\.nii(\.gz)?$", "", labels.name)
    same = [path for path in images if re.sub(r"_T2w\.nii(\.gz)?$", "", path.name) == stem]
    beside = [path for path in images if path.parent == labels.parent]
    session = [path for path in images if _session(path) == _session(labels)]
    for choice in (same, beside, session):
        if len(choice) == 1:
            return choice[0]
    count = len(same or beside or session)
    many = f"{count} T2w images could belong to it" if count else "there is no *_T2w.nii.gz of its subject"
    raise InputError(labels, many, "Name the image like the label map, with _T2w instead of _dseg")
