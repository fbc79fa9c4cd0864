"""Background of MP2RAGE UNI images: noise over the whole range of intensities, which is made dark.

The UNI image is the ratio S1 S2 / (S1^2 + S2^2) of two inversion images, between -0.5 and 0.5 (Marques et al.
2010, doi:10.1016/j.neuroimage.2009.10.002). Without signal it is a ratio of noise. O'Brien et al. (2014,
doi:10.1371/journal.pone.0099676) add a constant to it,

    (S1 S2 - beta) / (S1^2 + S2^2 + 2 beta),

so that it tends to -0.5 (dark) where the signal is small. Here S1 S2 is the UNI image times S1^2 + S2^2, so
that magnitude images suffice, and their polarity is not needed. Without inversion images, the noise itself
shows where the background is.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ..errors import BrainsegError
from ..geometry.volume import Volume, resample
from ..io import conform

CORNER = 0.1
"""Part of every side that a corner takes, in which only background is expected."""

LEAST_NOISY = 5
"""Corners of eight that have to be noisy; the neck may fill others."""

SPREAD, OFF_CENTER, ROUGHNESS = 0.15, 0.25, 0.45
"""Smallest standard deviation of a noisy corner, and largest distance of its mean from the middle, both
relative to the range of the image (noise of magnitude images is near its lower end); smallest part of the
deviation that neighboring voxels do not share."""

BETA = 4.0
"""Square root of beta, relative to the intensity of the inversion images in the background."""

SMOOTH, NOISY = 2.0, 0.45
"""Width (mm) of the average of local noise, and the part of the corners' noise above which a voxel is
background."""

GAP, SPECK = 3.0, 2000.0
"""Width (mm) of gaps in the head that are closed, and volume (mm3) of islands that are not part of it."""

HEAD = (400e3, 8000e3)
"""Volumes (mm3) of a head without background."""


NOISE = "The background is noise over the whole range, as in MP2RAGE UNI images"
"""What is said of such an image."""

REMEDY = "Provide the inversion images beside it (*_inv-1_MP2RAGE and *_inv-2_MP2RAGE), or a T1w or T2w image"
"""What to do about a UNI image without a usable background."""


def is_noisy(volume: Volume) -> bool:
    """Return whether the background is noise over the whole range of intensities.

    Parameters
    ----------
    volume : Volume
        The scan.

    Returns
    -------
    bool
        Whether most corners of the scan have the spread and roughness of noise.
    """
    data = volume.data.numpy()
    low, high = np.quantile(data[::3, ::3, ::3], [0.01, 0.99])
    return sum(_is_noise(corner, low, high) for corner in _corners(data)) >= LEAST_NOISY


def _corners(data: np.ndarray) -> list[np.ndarray]:
    """Return the eight corners of an image."""
    ends = [(slice(0, max(3, int(CORNER * n))), slice(-max(3, int(CORNER * n)), None)) for n in data.shape]
    return [data[where] for where in itertools.product(*ends)]


def _is_noise(corner: np.ndarray, low: float, high: float) -> bool:
    """Return whether values spread over the range, differently in neighboring voxels."""
    spread, span = float(corner.std()), high - low
    if not span > 0 or spread < SPREAD * span or abs(corner.mean() - (low + high) / 2) > OFF_CENTER * span:
        return False
    steps = [float(np.diff(corner, axis=axis).std()) for axis in range(3)]
    return max(steps) > ROUGHNESS * np.sqrt(2) * spread


def suppress(volume: Volume, inversions: list[Volume] | None = None) -> Volume | None:
    """Return a UNI image with a dark background.

    Parameters
    ----------
    volume : Volume
        UNI image.
    inversions : list of Volume, optional
        Magnitude images of the second or of both inversions, in the space of the UNI image.

    Returns
    -------
    Volume or None
        The image with intensities in the same range; None if no head stands out from the background.
    """
    if inversions:
        return _by_inversions(volume, inversions)
    inside = head(volume)
    if not HEAD[0] < float(inside.sum()) * volume.grid.voxel_volume < HEAD[1]:
        return None
    low = volume.data.min()
    return volume.with_data(torch.where(torch.from_numpy(inside), volume.data, low))


def _by_inversions(volume: Volume, inversions: list[Volume]) -> Volume:
    """Return the robust UNI image of O'Brien et al. (2014)."""
    energy = torch.zeros(volume.data.shape)
    for one in inversions:
        energy += resample(one.with_data(one.data.float()), volume.grid).data ** 2
    level = float(np.median([np.median(np.sqrt(corner)) for corner in _corners(energy.numpy())]))
    beta = (BETA * level) ** 2
    low, high = float(volume.data.min()), float(volume.data.max())
    uni = (volume.data.float() - low) / (high - low) - 0.5
    robust = (uni * energy - beta) / (energy + 2 * beta).clamp(min=1e-12)
    return volume.with_data((robust + 0.5).clamp(0, 1) * (high - low) + low)


def head(volume: Volume) -> np.ndarray:
    """Return the voxels that are not noise.

    Noise differs from its neighbors along all axes, an edge only along some.

    Parameters
    ----------
    volume : Volume
        UNI image.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Head without air, and without bone where it has no signal.
    """
    data = volume.data.numpy().astype(np.float32)
    rough = np.full(data.shape, np.inf, np.float32)
    for axis in range(3):
        padded = np.pad(data, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        middle, n = [slice(None)] * 3, data.shape[axis]
        around = []
        for start in (0, 2):
            middle[axis] = slice(start, start + n)
            around.append(padded[tuple(middle)])
        np.minimum(rough, np.abs(2 * data - around[0] - around[1]), out=rough)
    noise = ndimage.gaussian_filter(rough, SMOOTH / volume.grid.spacing)
    level = float(np.median([np.median(corner) for corner in _corners(noise)]))
    inside = noise < NOISY * level
    steps = max(1, round(GAP / float(volume.grid.spacing.max())))
    inside = ndimage.binary_closing(np.pad(inside, steps), iterations=steps)[(slice(steps, -steps),) * 3]
    pieces, count = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * volume.grid.voxel_volume
    sizes[0] = 0
    return (sizes > SPECK)[pieces]


def inversions_of(path: str | Path) -> list[Path]:
    """Return the magnitude images of the inversions beside a UNI image: the second, or both.

    Parameters
    ----------
    path : str or Path
        UNI image with a BIDS name, such as ``sub-01_UNIT1.nii.gz``.

    Returns
    -------
    list of Path
        ``*_inv-1_MP2RAGE`` and ``*_inv-2_MP2RAGE`` with the same other entities; empty without the second.
    """
    path = Path(path)
    own = _entities(path)
    found: dict[str, Path] = {}
    for other in sorted(path.parent.glob(f"{path.name.split('_')[0]}_*_MP2RAGE.nii*")):
        entities = _entities(other)
        number = entities.pop("inv", "").lstrip("0")
        magnitude = entities.pop("part", "mag") == "mag"
        if magnitude and entities == {key: value for key, value in own.items() if key != "part"}:
            found.setdefault(number, other)
    return [found[number] for number in ("1", "2") if number in found] if "2" in found else []


def _entities(path: Path) -> dict[str, str]:
    """Return the entities of a BIDS name, without those that name the image itself."""
    pairs = (part.partition("-") for part in path.name.split(".")[0].split("_")[:-1])
    return {
        key: value
        for key, _, value in pairs
        if key not in ("acq", "rec", "desc") or "uni" not in value.lower()
    }


def prepared(volume: Volume, path: str | Path, notes: list[str]) -> Volume:
    """Return a scan with a dark background if it is a UNI image with a noisy one.

    Parameters
    ----------
    volume : Volume
        The scan.
    path : str or Path
        Its file; inversion images beside it are used.
    notes : list of str
        A note is appended if the background is noisy.
    """
    if not is_noisy(volume):
        return volume
    paths, problem = inversions_of(path), ""
    try:
        images = [conform.read(one) for one in paths]
    except BrainsegError as error:
        images, problem = [], f" ({error.path or paths[0]}: {error.reason})"
    found = suppress(volume, images)
    if found is None:
        notes.append(f"{NOISE}, and no head stands out from it{problem}. {REMEDY}.")
        return volume
    how = "with " + " and ".join(one.name for one in paths) if images else f"by its statistics{problem}"
    notes.append(f"{NOISE}: it was made dark {how}.")
    return found


def usable(path: str | Path) -> bool:
    """Return whether an image has no noisy background, or one that can be made dark.

    Parameters
    ----------
    path : str or Path
        The image; one that cannot be read is not judged.
    """
    try:
        volume = conform.read(path)
    except BrainsegError:
        return True
    return not is_noisy(prepared(volume, path, []))
