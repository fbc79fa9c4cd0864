"""Measures of label maps: shares on a grid, centroids, topology, contrast along borders and spread."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from ..geometry.axes import occupied, triple
from ..geometry.volume import Grid, Volume, resample

SPACING = 3.0
"""Voxel size (mm) of the prior."""

FINER = 2
"""Samples of the labels along each side of a voxel of the prior."""


def shares(structures: Volume, matrix: np.ndarray, grid: Grid) -> dict[int, np.ndarray]:
    """Return the share of every label in the voxels of a grid.

    Parameters
    ----------
    structures : Volume
        Labels.
    matrix : ndarray, shape (4, 4)
        From mm of the labels to mm of the grid.
    grid : Grid
        Grid with voxels of ``SPACING`` mm.

    Returns
    -------
    dict of int to ndarray of float32
        Shares (0 to 1) by label, on the grid; without the background.
    """
    step = SPACING / FINER
    affine = grid.affine.copy()
    affine[:3, :3] /= FINER
    affine[:3, 3] -= (SPACING - step) / 2
    fine = Grid(triple(n * FINER for n in grid.shape), affine)
    moved = Volume(structures.data, matrix @ structures.affine)
    found = resample(moved, fine, mode="nearest").data.numpy()
    starts = itertools.product(range(FINER), repeat=3)
    samples = np.stack([found[a::FINER, b::FINER, c::FINER] for a, b, c in starts])
    boxes = ndimage.find_objects(found.astype(np.int32, copy=False))
    out = {}
    for index, part in enumerate(boxes, 1):
        if part is None:
            continue
        around = tuple(slice(a.start // FINER, -(-a.stop // FINER)) for a in part)
        out[index] = np.zeros(grid.shape, np.float32)
        count = np.count_nonzero(samples[(slice(None), *around)] == index, axis=0)
        out[index][around] = count / np.float32(len(samples))
    return out


def centroids(structures: np.ndarray, affine: np.ndarray) -> dict[int, tuple[float, float, float]]:
    """Return the centroid (mm) of every label.

    Parameters
    ----------
    structures : ndarray of int, shape (X, Y, Z)
        Labels.
    affine : ndarray, shape (4, 4)
        From voxels to mm.

    Returns
    -------
    dict of int to tuple of float
        Centroids by label, without the background.
    """
    where = np.nonzero(structures)
    labels = structures[where].astype(np.int64)
    count = np.bincount(labels)
    mean = np.stack([np.bincount(labels, line) for line in where], 1) / np.maximum(count, 1)[:, None]
    points = mean @ affine[:3, :3].T + affine[:3, 3]
    return {int(k): tuple(points[k].tolist()) for k in np.nonzero(count)[0]}


def crop(structures: Volume, *others: Volume, margin: int = 3) -> list[Volume]:
    """Crop volumes on one grid to the box around the labels.

    Parameters
    ----------
    structures : Volume
        Labels.
    *others : Volume
        Further volumes on the same grid.
    margin : int
        Margin (voxels) around the labels.

    Returns
    -------
    list of Volume
        The cropped volumes, labels first.
    """
    where = occupied(structures.data.numpy())
    if not where[0].stop:
        return [structures, *others]
    start = triple(max(0, s.start - margin) for s in where)
    ends = [min(n, s.stop + margin) for s, n in zip(where, structures.data.shape, strict=True)]
    shape = triple(e - s for s, e in zip(start, ends, strict=True))
    return [volume.crop(start, shape) for volume in (structures, *others)]


def topology(part: np.ndarray) -> tuple[int, float, int, float, int]:
    """Return the topology of a structure.

    Parameters
    ----------
    part : ndarray of bool, shape (X, Y, Z)
        Voxels of the structure, at least one.

    Returns
    -------
    pieces : int
        Connected pieces (26 neighbors).
    apart : float
        Share of the voxels outside the largest piece.
    holes : int
        Holes.
    hollow : float
        Volume of the holes over the structure's.
    euler : int
        Euler number.
    """
    padded = np.pad(part, 1)
    pieces, count = ndimage.label(padded, np.ones((3, 3, 3)))
    size = np.bincount(pieces.ravel())[1:]
    total = int(size.sum())
    hollow, gaps = ndimage.label(~padded)
    holes = max(gaps - 1, 0)
    empty = int(np.count_nonzero(~padded) - np.bincount(hollow.ravel())[1:].max()) if gaps else 0
    return count, 1 - float(size.max()) / total, holes, empty / total, euler(padded)


def euler(part: np.ndarray) -> int:
    """Return the Euler number of voxels joined by faces, edges and corners.

    It is vertices - edges + faces - cubes of the cubical complex.

    Parameters
    ----------
    part : ndarray of bool, shape (X, Y, Z)
        Voxels.

    Returns
    -------
    int
        Euler number.

    Examples
    --------
    >>> ball = np.zeros((5, 5, 5), bool); ball[1:4, 1:4, 1:4] = True
    >>> euler(ball)
    1
    >>> ball[2, 2, :] = False  # a tunnel
    >>> euler(ball)
    0
    """
    whole = np.pad(part, 1)
    either = lambda a, axis: a[_at(axis, 1)] | a[_at(axis, 0)]  # noqa: E731
    total = -int(whole.sum())
    faces = [either(whole, axis) for axis in range(3)]
    total += sum(int(f.sum()) for f in faces)
    edges = [either(faces[0], 1), either(faces[0], 2), either(faces[1], 2)]
    total -= sum(int(e.sum()) for e in edges)
    return total + int(either(edges[0], 2).sum())


def _at(axis: int, first: int) -> tuple[slice, ...]:
    return tuple(slice(first, None if first else -1) if a == axis else slice(None) for a in range(3))


def borders(image: np.ndarray, structures: np.ndarray) -> dict[int, float]:
    """Return the contrast along every label's border: mean step across it over mean step inside it.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Intensities.
    structures : ndarray of int, shape (X, Y, Z)
        Labels.

    Returns
    -------
    dict of int to float
        Contrast by label, where it is defined.
    """
    size = int(structures.max()) + 1
    across, across_n, within, within_n = (np.zeros(size) for _ in range(4))
    inside = structures > 0
    for axis in range(3):
        first, second = _at(axis, 0), _at(axis, 1)
        # The edge of the mask is no evidence: it has contrast at any position.
        both = inside[first] & inside[second]
        a, b = structures[first][both], structures[second][both]
        step = np.abs(image[second][both] - image[first][both])
        same = a == b
        within += np.bincount(a[same], step[same], size)
        within_n += np.bincount(a[same], minlength=size)
        other = ~same
        for side in (a, b):
            across += np.bincount(side[other], step[other], size)
            across_n += np.bincount(side[other], minlength=size)
    out = {}
    for k in np.nonzero((across_n > 0) & (within_n > 0))[0]:
        if k and within[k] > 0:
            out[int(k)] = float(across[k] / across_n[k] / (within[k] / within_n[k]))
    return out


def spreads(image: np.ndarray, structures: np.ndarray) -> dict[int, float]:
    """Return the robust deviation of every label's intensities, relative to the whole brain's.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Intensities.
    structures : ndarray of int, shape (X, Y, Z)
        Labels.

    Returns
    -------
    dict of int to float
        Ratio by label.
    """
    inside = structures > 0
    values, ids = image[inside], structures[inside]
    order = np.argsort(ids, kind="stable")
    values, ids = values[order], ids[order]
    whole = _deviation(values[:: max(1, values.size // 200_000)])
    starts = np.r_[np.nonzero(np.r_[True, ids[1:] != ids[:-1]])[0], ids.size]
    pairs = itertools.pairwise(starts)
    return {int(ids[a]): _deviation(values[a:b]) / max(whole, 1e-9) for a, b in pairs}


def _deviation(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the soft Dice of two maps.

    Parameters
    ----------
    one, other : ndarray
        Shares of a structure in the voxels of one grid.

    Returns
    -------
    float
        Dice; 0 if both are empty.
    """
    total = float(one.sum() + other.sum())
    return 2 * float(np.minimum(one, other).sum()) / total if total else 0.0
