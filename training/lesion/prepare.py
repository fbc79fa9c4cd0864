"""Preparation of scans with lesion masks for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...models.errors import InputError, UsageError
from ...models.geometry.volume import Volume, resample
from ...models.io import conform
from ...models.population import label_sets
from ...models.segmentation import lesion, skullstrip
from ..data.arrays import write_arrays
from . import lgg
from .examples import FARTHEST

EVERY, HELD_OUT, TESTED = 8, 3, (2, 6)
"""Of every eight patients in alphabetical order, the one for validation and the two for tests."""

LARGEST_SHARE = 0.25
"""Largest share of the voxels of an image that lesions have."""


def split(folder: Path) -> dict[str, list[Path]]:
    """Return the patients of a folder for ``training``, ``validation`` and ``test``.

    Raises
    ------
    UsageError
        If there are no patients.
    """
    subjects = sorted(path for path in folder.iterdir() if path.is_dir())
    if not subjects:
        raise UsageError(
            folder, "there are no patients in the folder", "Give a folder with one folder per patient"
        )
    parts: dict[str, list[Path]] = {"training": [], "validation": [], "test": []}
    for k, path in enumerate(subjects):
        place = k % EVERY
        parts["validation" if place == HELD_OUT else "test" if place in TESTED else "training"].append(path)
    return parts


def prepare(subjects: Sequence[Path], out: Path, spacing: float) -> None:
    """Write prepared arrays of real scans with lesion masks.

    Parameters
    ----------
    subjects : sequence of Path
        Folders with one ``*_FLAIR`` or ``*_T2w`` image and its ``*_label-lesion_mask``, and optionally a
        brain mask ``*_desc-brain_mask``; or folders of slices of the LGG data set.
    out : Path
        File to write (npz).
    spacing : float
        Voxel size (mm) within slices.
    """
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, list] = {"names": [], "step": [], "zero": []}
    for folder in subjects:
        k = len(meta["names"])
        try:
            scan, truth, brain = read_case(folder)
        except InputError as error:
            print(f"{folder.name} is excluded: {error.reason}", flush=True)
            continue
        image, inside = lesion.prepared(scan, brain, spacing)
        on_grid = resample(truth.with_data(truth.data.float()).canonical(), image.grid)
        away = ndimage.distance_transform_edt(inside.data.numpy() < 0.5, image.grid.spacing)
        values = scan.data[brain.data > 0].float()
        deviation = 1.4826 * (values - values.median()).abs().median()
        arrays[f"image{k}"] = image.data.half().numpy()
        arrays[f"outside{k}"] = np.clip(away * 10, 0, FARTHEST * 10).astype(np.uint8)
        arrays[f"lesion{k}"] = (on_grid.data > 0.5).numpy()
        meta["names"].append(folder.name)
        meta["step"].append(float(image.grid.spacing[2]))
        meta["zero"].append(float(-values.median() / (lesion.SPREAD * deviation)))
        print(f"{folder.name}: {int(arrays[f'lesion{k}'].sum())} voxels of lesions", flush=True)
    write_arrays(out, meta, arrays)


def read_case(folder: Path) -> tuple[Volume, Volume, Volume]:
    """Return scan, lesions and brain mask of the folder of a patient.

    Raises
    ------
    InputError
        If a file is missing, there is more than one, or the mask is none.
    """
    found: dict[str, Path] = {}
    for name, patterns in {
        "scan": ("*_FLAIR.nii*", "*_T2w.nii*"),
        "lesions": ("*_label-lesion_mask.nii*",),
        "brain": ("*_desc-brain_mask.nii*",),
    }.items():
        paths = next((p for p in (sorted(folder.glob(pattern)) for pattern in patterns) if p), [])
        if not found and (slices := sorted(folder.glob("*_mask.tif"))):
            scan, truth = lgg.read(folder, len(slices))
            return scan, truth, skullstrip.skullstrip(scan).mask
        if len(paths) > 1 or (not paths and name != "brain"):
            raise InputError(folder, f"{len(paths)} files {patterns[0]} in the folder", "Keep exactly one")
        if paths:
            found[name] = paths[0]
    scan, truth = conform.read(found["scan"]), conform.read(found["lesions"])
    _check_mask(truth, found["lesions"])
    brain = conform.read(found["brain"]) if "brain" in found else skullstrip.skullstrip(scan).mask
    return scan, truth, brain


def _check_mask(truth: Volume, path: Path) -> None:
    """Refuse an image in place of a lesion mask."""
    values = truth.data.numpy()
    if values.max() > 1:
        label_sets.check_labels(values, path)
    share = float((values > 0.5).mean())
    if share > LARGEST_SHARE:
        raise InputError(
            path, f"{100 * share:.0f} % of the voxels are lesions: it is no lesion mask", "Give a lesion mask"
        )


def prepare_folder(folder: Path, out: Path, spacing: float) -> tuple[Path, Path]:
    """Prepare the patients for training and validation of a folder, unless their arrays exist.

    Parameters
    ----------
    folder : Path
        Folder with one folder per patient.
    out : Path
        Folder for the arrays and for ``test.txt``, the list of the patients for tests.
    spacing : float
        Voxel size (mm) within slices.

    Returns
    -------
    tuple of Path
        Arrays for training and for validation.

    Raises
    ------
    UsageError
        If there are no patients.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = split(folder)
    paths = []
    for part in ("training", "validation"):
        paths.append(out / f"{part}-{spacing:g}.npz")
        if not paths[-1].is_file():
            prepare(parts[part], paths[-1], spacing)
    (out / "test.txt").write_text("".join(f"{path.name}\n" for path in parts["test"]))
    return paths[0], paths[1]
