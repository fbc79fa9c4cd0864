"""Patients of ``brainseg lesion``: images (NIfTI) and folders of slices (TIFF), and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....models.errors import InputError, UsageError
from ....models.geometry.volume import Volume, resample
from ....models.io import conform
from ....models.io.folders import IMAGES, files_below
from ....models.population import contrasts
from ....models.segmentation import skullstrip
from ....training.data import tiff_slices
from ....training.lesion import lgg
from ..scans import read_noted

MASK = "_label-lesion_mask"
"""End of the name of a lesion mask, without extension."""

BRAIN = "_desc-brain_mask"
"""End of the name of a brain mask, without extension."""


@dataclass(frozen=True)
class Patient:
    """A patient whose lesions are segmented.

    Attributes
    ----------
    name : str
        Name in table and figures.
    path : Path
        Image, or folder of slices.
    slices : tuple of Path
        Slices in their order; empty for an image.
    """

    name: str
    path: Path
    slices: tuple[Path, ...] = ()

    @property
    def out_name(self) -> str:
        """Name of the mask, relative to the folder of the results; of slices their folder."""
        if self.slices:
            return self.path.name
        return f"{_stem(self.path)}{MASK}.nii.gz"

    def truth(self) -> Volume | None:
        """Return the lesion mask beside the image or the slices, on its own grid; None without one."""
        if self.slices:
            masks = [tiff_slices.mask_of(path) for path in self.slices]
            if not any(mask.is_file() for mask in masks):
                return None
            if missing := [mask for mask in masks if not mask.is_file()]:
                raise InputError(
                    missing[0], "this slice has no mask, but others have", "Add it, or remove all"
                )
            return tiff_slices.labels(masks)
        path = _beside(self.path, MASK)
        return None if path is None else conform.read(path)


@dataclass(frozen=True)
class Loaded:
    """Images of a patient.

    Attributes
    ----------
    images : tuple of Volume
        One for each contrast of the network.
    brain : Volume
        Brain mask, on the grid of the first.
    notes : tuple of str
        What was guessed.
    """

    images: tuple[Volume, ...]
    brain: Volume
    notes: tuple[str, ...] = ()


def find(source: Path) -> list[Patient]:
    """Return the patients of an image, of a folder of slices, or of a folder of either.

    Parameters
    ----------
    source : Path
        An image; a folder of slices; or a folder with images or folders of slices at any depth. Of images
        with BIDS names, FLAIR (or else T2w) of every participant and session counts.

    Raises
    ------
    UsageError
        If there is none.
    """
    if source.is_file():
        return [Patient(_stem(source), source)]
    if not source.is_dir():
        raise UsageError(source, "there is no such file or folder", "Check the path")
    folders = sorted({path.parent for path in files_below(source, "*.tif")})
    found = [Patient(folder.name, folder, tuple(tiff_slices.slices(folder))) for folder in folders]
    images = [p for p in files_below(source, *IMAGES) if not _stem(p).endswith(("_mask", "_dseg"))]
    for suffix in contrasts.LESION:
        named = [p for p in images if p.name.split(".nii")[0].endswith(f"_{suffix}")]
        if named:
            images = named
            break
    found += [Patient(_stem(path), path) for path in images]
    found = [patient for patient in found if patient.slices or not patient.path.is_dir()]
    if not found:
        raise UsageError(source, "the folder has neither images (.nii.gz) nor slices (.tif)", "Give another")
    names = [patient.name for patient in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(source, f"two patients are named {twice[0]}", "Give one folder after the other")
    return found


def load(
    patient: Patient,
    wanted: Sequence[str],
    *,
    own: bool,
    channel: int = 0,
    further: Sequence[str] = (),
    brain: str | None = None,
    device: str = "cpu",
) -> Loaded:
    """Read the images of a patient, and find the brain.

    Parameters
    ----------
    patient : Patient
        The patient.
    wanted : sequence of str
        Contrasts of the network.
    own : bool
        Whether the network was trained on images with labels of a user; it sees slices as in its training.
    channel : int
        Channel of slices for a network of one contrast
        (:func:`brainseg.training.data.tiff_slices.of_contrasts`).
    further : sequence of str
        Images of the network's further contrasts.
    brain : str, optional
        Brain mask.
    device : str
        Device of the networks.

    Raises
    ------
    InputError
        If a file cannot be used, or contrasts are missing.
    """
    if patient.slices:
        return _of_slices(patient, wanted, own=own, channel=channel, device=device)
    images = [read_noted(path) for path in map(str, (patient.path, *further))]
    if len(images) != len(wanted):
        reason = f"the network needs {len(wanted)} images ({', '.join(wanted)}), and there are {len(images)}"
        raise InputError(patient.path, reason, "Give IN and --with in this order")
    given = Path(brain) if brain else _beside(patient.path, BRAIN)
    if given is None:
        found = skullstrip.skullstrip(images[0], device=device)
        return Loaded(tuple(images), found.mask, tuple(found.notes))
    mask = conform.read(given)
    inside = resample(mask.with_data((mask.data > 0).float()), images[0].grid).data > 0.5
    if not bool(inside.any()):
        raise InputError(given, "the brain mask has no voxel on the image", "Give a mask of this image")
    return Loaded(
        tuple(images), Volume(inside.to(mask.data.dtype), images[0].affine), (f"brain mask: {given}",)
    )


def _of_slices(patient: Patient, wanted: Sequence[str], *, own: bool, channel: int, device: str) -> Loaded:
    """Return the images of slices as the network saw them in training."""
    every = tiff_slices.channels(patient.slices)
    channels = tiff_slices.of_contrasts(every, wanted, patient.path, channel)
    around = tiff_slices.bright(channels[0]).to(channels[0].data.dtype)
    if own:
        return Loaded(tuple(channels), channels[0].with_data(around))
    image = Volume(channels[0].data, lgg.geometry(channels[0].data.numpy()))
    note = f"voxel size guessed from the head: {' x '.join(f'{s:.2f}' for s in image.grid.spacing)} mm"
    try:
        return Loaded((image,), skullstrip.skullstrip(image, device=device).mask, (note,))
    except InputError as error:
        said = f"no brain mask ({error.reason}); lesions are looked for in the whole head"
        return Loaded((image,), image.with_data(around), (note, said))


def _beside(path: Path, ending: str) -> Path | None:
    """Return the file of the same participant, session and run with another ending."""
    every = [path.with_name(f"{stem}{ending}{end}") for stem in _stems(path) for end in (".nii.gz", ".nii")]
    return next((one for one in every if one.is_file()), None)


def _stems(path: Path) -> tuple[str, ...]:
    whole = path.name.split(".nii")[0].removesuffix(".mgz")
    return (whole, _stem(path)) if whole != _stem(path) else (whole,)


def _stem(path: Path) -> str:
    """Return the name of an image without extension and contrast."""
    whole = path.name.split(".nii")[0].removesuffix(".mgz")
    return next((whole.removesuffix(f"_{c}") for c in contrasts.LESION if whole.endswith(f"_{c}")), whole)
