"""Templates with the inputs of registration: image, brain mask and structures.

The structures of a template are segmented once by the program's own networks and stored: with the program
for the bundled template, else in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import FOLDER
from ..errors import BrainsegError, InputError, UsageError
from ..geometry.axes import triple
from ..geometry.volume import Volume
from ..io import atomic, conform
from ..population import populations
from ..population.labels import DSEG_NAMES
from ..segmentation import deformable_atlas, segmentation, skullstrip
from ..templates import bundled, catalog, spaces
from ..templates.spaces import Space
from .result import Anatomy


@lru_cache(maxsize=4)
def load(text: str, population: str = "adult", device: str = "cpu") -> Anatomy:
    """Return a template with its structures.

    Parameters
    ----------
    text : str
        Output space as the user writes it.
    population : str
        Population whose networks segment the template if its structures are not stored.
    device : str
        Device of the networks.

    Returns
    -------
    Anatomy
        The template.

    Raises
    ------
    UsageError, MissingFileError
        If the template is unknown or its files are missing.
    InputError
        If its files are invalid.
    """
    space = spaces.parse(text)
    found = _files(space)
    if found is None and space.name in catalog.names():
        return _by_age(space)
    if found is None:
        template = bundled.load(space.label)
        return _labeled(template.image, template.mask, _shipped(space.name), space, population, device)
    image, region = conform.read(found.image), None
    if found.mask:
        mask = _on(image, conform.read(found.mask), found.mask)
        mask = mask.with_data((mask.data > 0.5).to(torch.uint8))
    else:
        brain = skullstrip.skullstrip(image, population, device=device)
        mask, region = brain.mask, brain.region
    if found.labels:
        labels = _on(image, conform.read(found.labels), found.labels)
        return anatomy(image, mask, labels.with_data(labels.data.round().to(torch.int16)), {})
    return _labeled(image, mask, None, space, population, device, region)


def is_shipped(text: str) -> bool:
    """Return whether the structures of a template come with the program, so that no network segments it.

    Parameters
    ----------
    text : str
        Output space as the user writes it.
    """
    space = spaces.parse(text)
    return space.path is None and (space.name in catalog.names() or _shipped(space.name) is not None)


def grid_of(text: str):
    """Return the grid of a template, without its structures.

    Parameters
    ----------
    text : str
        Output space as the user writes it.

    Returns
    -------
    Grid
        Grid of its image.
    """
    space = spaces.parse(text)
    found = _files(space)
    if found is not None:
        return conform.read(found.image).grid
    grid = bundled.load(space.label).image.grid
    return bundled.coarser(grid, int(space.resolution or 1)) if space.name == catalog.DEFAULT else grid


def _files(space: Space) -> spaces.Files | None:
    """Return the files of one template; refuse one that needs a cohort."""
    found, ages = spaces.find(space), spaces.by_age(space)
    if ages:
        cohort = next(iter(ages))
        reason = f"the template {space.name} needs a cohort (gestational age)"
        raise UsageError(None, reason, f"Name one, such as {replace(space, cohort=cohort)}")
    return found


def anatomy(image: Volume, mask: Volume, structures: Volume, probabilities: Mapping[str, Volume]) -> Anatomy:
    """Return an anatomy with the centroids of its labels.

    Parameters
    ----------
    image, mask, structures : Volume
        Image, brain mask and structures (FreeSurfer ids) on one grid.
    probabilities : mapping of str to Volume
        ``GM``, ``WM`` and ``CSF``; may be empty.

    Returns
    -------
    Anatomy
        Anatomy with centroids.
    """
    return Anatomy(image, mask, structures, centroids(structures), probabilities)


def centroids(structures: Volume, least: int = 20) -> dict[int, tuple[float, float, float]]:
    """Return the centroid (RAS mm) of every label with enough voxels.

    Parameters
    ----------
    structures : Volume
        Labels.
    least : int
        Smallest number of voxels.

    Returns
    -------
    dict of int to tuple of float
        Centroids by label.

    Examples
    --------
    >>> data = torch.zeros(5, 5, 5, dtype=torch.int16); data[1:4, 1:4, 1:4] = 17
    >>> centroids(Volume(data, np.diag([2.0, 2.0, 2.0, 1.0])))
    {17: (4.0, 4.0, 4.0)}
    """
    data = structures.data.numpy()
    where = np.nonzero(data)
    values = data[where].astype(np.int64)
    count = np.bincount(values)
    center = np.stack([np.bincount(values, weights=w) / np.maximum(count, 1) for w in where], 1)
    points = center @ structures.affine[:3, :3].T + structures.affine[:3, 3]
    return {int(k): triple(float(c) for c in points[k]) for k in np.flatnonzero(count >= least)}


def _on(image: Volume, other: Volume, path: Path) -> Volume:
    if other.grid.shape != image.grid.shape or not np.allclose(other.affine, image.affine, atol=1e-2):
        raise InputError(path, "not on the grid of its template", "Resample it to that grid")
    return other


def _by_age(space: Space) -> Anatomy:
    found, table = bundled.probabilities(space.label)
    template = bundled.load(space.label)
    x = torch.arange(found.grid.shape[0]) * found.affine[0, 0] + found.affine[0, 3]
    ids = torch.tensor([0, *table.unsided[1:]], dtype=torch.int16)
    partner = torch.tensor([0, *[table[i].partner for i in table.unsided[1:]]], dtype=torch.int16)
    best = found.data[1:].argmax(0)
    structures = torch.where((x > 0)[:, None, None], partner[best], ids[best])
    return Anatomy(template.image, template.mask, found.with_data(structures), template.centroids, {})


def _labeled(
    image: Volume,
    mask: Volume,
    shipped: Path | None,
    space: Space,
    population: str,
    device: str,
    region: Volume | None = None,
) -> Anatomy:
    """Return the template with structures from a file, or computed and stored."""
    path = shipped or _cache(image, region or mask, space, population)
    if path is not None and path.is_file():
        with suppress(OSError, ValueError, KeyError):
            return _read(path, image, mask, space.name)
    try:
        result = segmentation.segment(image, mask, population, region=region, device=device)
    except BrainsegError as error:
        raise type(error)(error.path or str(space), error.reason, error.remedy) from error
    made = anatomy(image, mask, result.structures, result.probabilities)
    if path is not None:
        with suppress(OSError):
            write(path, made)
    return made


def _shipped(name: str) -> Path | None:
    path = FOLDER / "templates" / f"{name}.npz"
    return path if path.is_file() else None


def folder() -> Path:
    """Return the folder of the cached structures of templates."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "brainseg" / "templates"


def _cache(image: Volume, mask: Volume, space: Space, population: str) -> Path | None:
    """Return the path of the cached structures; its name is a hash of all inputs."""
    digest = hashlib.sha256()
    for part in (image.data.numpy(), mask.data.numpy(), image.affine):
        digest.update(np.ascontiguousarray(part).tobytes())
    record = populations.load(population)
    for version in deformable_atlas.computed_with((record.coarse, record.segmentation)).values():
        digest.update(version.encode())
    return folder() / f"{space.name}-{digest.hexdigest()[:16]}.npz"


def write(path: Path, made: Anatomy, probabilities: bool = True) -> None:
    """Write the structures of a template; a partial file never appears under the name.

    Parameters
    ----------
    path : Path
        NPZ file.
    made : Anatomy
        The template.
    probabilities : bool
        Whether to store the tissue probabilities.
    """
    arrays: dict[str, Any] = {"structures": made.structures.data.numpy().astype(np.int16)}
    if probabilities:
        arrays |= {k: (v.data.numpy() * 255).round().astype(np.uint8) for k, v in made.probabilities.items()}
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _read(path: Path, image: Volume, mask: Volume, name: str) -> Anatomy:
    with np.load(path) as arrays:
        structures = image.with_data(torch.from_numpy(arrays["structures"]))
        names = [n for n in DSEG_NAMES if n in arrays]
        found = {n: image.with_data(torch.from_numpy(arrays[n]).float() / 255) for n in names}
    if structures.data.shape != image.data.shape:
        raise ValueError(f"{path}: shape differs from the template's; delete the file")
    if len(found) == len(DSEG_NAMES):
        return anatomy(image, mask, structures, found)
    return anatomy(image, mask, structures, TissueMaps(name, image))


class TissueMaps(Mapping[str, Volume]):
    """Tissue probabilities of a bundled template, read when they are first used; empty if it has none.

    An image of the template's contrast is aligned without them.

    Parameters
    ----------
    name : str
        Name of the template.
    image : Volume
        Its image; maps on another grid are left out.
    """

    def __init__(self, name: str, image: Volume) -> None:
        self.name, self.image = name, image

    @cached_property
    def _maps(self) -> dict[str, Volume]:
        found = bundled.tissue_maps(self.name)
        if found is None or found[0].shape != self.image.grid.shape:
            return {}
        return {name: self.image.with_data(found[1][name.lower()]) for name in DSEG_NAMES}

    def __getitem__(self, name: str) -> Volume:
        return self._maps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)
