"""Precomputed inputs on the scan's grid: masks, structures and tissue probabilities."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.affine import fit_affine
from ..geometry.distance import nearest, signed_distance
from ..geometry.volume import Grid, Volume, lattice, resample, transform_points
from ..population import labels
from ..population.labels import LabelTable
from .masks import is_stripped
from .result import SegmentationResult

CORTEX = {1: 3, 2: 42}
"""Cortex of the cortical parcels (FreeSurfer ids 1000 to 2999, by their thousand)."""

LEAST_STRUCTURES = 6
"""Smallest number of structures of a usable segmentation."""

OF_STRUCTURES = "Totals of volumes are sums of the structures, not of the precomputed tissue probabilities."
"""Note where the tissues are not those of the structures."""

COARSE = 3.0
"""Voxel size (mm) at which a skull around a mask is detected."""


def mask(source: Volume, grid: Grid) -> Volume:
    """Return a precomputed brain mask on the grid of the scan.

    Parameters
    ----------
    source : Volume
        More than 0 in the brain, on any grid in the scan's space.
    grid : Grid
        Grid of the scan.

    Raises
    ------
    InputError
        If the mask does not overlap the scan.
    """
    inside = resample(source.with_data((source.data > 0).float()), grid).data > 0.5
    if not bool(inside.any()):
        raise InputError(
            None,
            "the brain mask does not overlap the image",
            "Use a mask in the space of this image",
        )
    return Volume(inside.to(torch.uint8), grid.affine)


def stripped(scan: Volume, brain: Volume, mode: str = "auto") -> bool:
    """Return whether a scan has no skull.

    Parameters
    ----------
    scan : Volume
        The scan.
    brain : Volume
        Its brain mask.
    mode : {'auto', 'skip', 'force'}
        See :func:`brainseg.models.segmentation.skullstrip.skullstrip`.
    """
    if mode != "auto":
        return mode == "skip"
    grid = lattice(scan, COARSE)
    inside = resample(brain.with_data((brain.data > 0).float()), grid).data.numpy() > 0.5
    distance = signed_distance(inside, grid.spacing)
    return is_stripped(scan, Volume(torch.from_numpy(distance.astype(np.float32)), grid.affine))


def segmentation(
    structures: Volume,
    brain: Volume,
    probabilities: dict[str, Volume] | None = None,
    label_table: str = "adult",
) -> SegmentationResult:
    """Return a segmentation from precomputed labels.

    Parameters
    ----------
    structures : Volume
        FreeSurfer ids on any grid in the scan's space; parcels of the cortex count as cortex.
    brain : Volume
        Brain mask, on the scan's grid; outside is background.
    probabilities : dict of str to Volume, optional
        ``GM``, ``WM`` and ``CSF``; by default 0 or 1 from the labels.
    label_table : str
        Label table of the structures.

    Returns
    -------
    SegmentationResult
        Structures, tissues and measures on the scan's grid.

    Raises
    ------
    InputError
        If it has too few structures.
    """
    grid, table = brain.grid, labels.load(label_table)
    ids, notes = _known_ids(structures, brain, table)
    dseg = table.lookup("dseg")[ids]
    if probabilities is None:
        shares = {
            name: torch.from_numpy((dseg == k).astype("f4")) for k, name in enumerate(labels.DSEG_NAMES, 1)
        }
        notes.append("Tissue probabilities are those of the precomputed labels: 0 or 1.")
    else:
        shares = {name: _share(probabilities[name], grid) for name in labels.DSEG_NAMES}
        notes.append(OF_STRUCTURES)
    return SegmentationResult(
        Volume(torch.from_numpy(ids), grid.affine),
        Volume(torch.from_numpy(table.lookup("tissue")[ids].astype(np.uint8)), grid.affine),
        {name: Volume(share, grid.affine) for name, share in shares.items()},
        *_measures(ids, grid),
        notes,
    )


def _known_ids(structures: Volume, brain: Volume, table: LabelTable) -> tuple[np.ndarray, list[str]]:
    """Return ids of the label table in the brain, parcels as cortex, unknown ids as the nearest known one.

    Raises
    ------
    InputError
        If there are too few known ids.
    """
    source = structures.with_data(structures.data.round().int())
    ids = resample(source, brain.grid, mode="nearest").data.numpy()
    for thousand, cortex in CORTEX.items():
        ids = np.where((ids >= 1000 * thousand) & (ids < 1000 * (thousand + 1)), cortex, ids)
    inside = brain.data.numpy() > 0
    known = np.isin(ids, [label.index for label in table if label.index]) & inside
    found = len(np.unique(ids[known]))
    if found < LEAST_STRUCTURES:
        raise InputError(
            None,
            f"too few FreeSurfer ids of structures ({found})",
            "Use a segmentation with FreeSurfer ids, such as aseg",
        )
    notes = []
    odd = sorted(set(np.unique(ids[inside & ~known & (ids != 0)]).tolist()))
    if odd:
        notes.append(
            f"Labels {', '.join(map(str, odd[:8]))} of the precomputed segmentation are not in the "
            "label table: their voxels got the nearest structure."
        )
    size = brain.grid.spacing
    out = np.where(known, ids, 0).astype(np.int16)
    missing = inside & ~known
    out[missing] = ids.ravel()[nearest(known, missing, size)[0]]
    return out, notes


def _share(probability: Volume, grid: Grid) -> torch.Tensor:
    return resample(probability.with_data(probability.data.float()), grid).data.clamp(0, 1)


def _measures(ids: np.ndarray, grid: Grid) -> tuple[dict[int, float], dict[int, tuple[float, float, float]]]:
    """Return volumes (mm3) and centers (mm) of the labels."""
    present = [int(index) for index in np.unique(ids) if index]
    counts = np.bincount(ids.ravel())
    centers = ndimage.center_of_mass(np.ones(ids.shape, bool), ids, present)
    points = transform_points(grid.affine, np.array(centers).reshape(-1, 3))
    volumes = {index: float(counts[index]) * grid.voxel_volume for index in present}
    return volumes, {
        index: (float(x), float(y), float(z)) for index, (x, y, z) in zip(present, points, strict=True)
    }


def tissues(dseg: Volume, probabilities: list[Volume], grid: Grid) -> tuple[Volume, list[Volume]]:
    """Return tissue labels and probabilities on the grid of the scan.

    Parameters
    ----------
    dseg : Volume
        Tissues: 1 GM, 2 WM, 3 CSF.
    probabilities : list of Volume
        Probabilities of the tissues.
    grid : Grid
        Grid of the scan.

    Returns
    -------
    tuple of (Volume, list of Volume)
        Labels and probabilities.

    Examples
    --------
    >>> there = Volume(torch.tensor([0, 1, 2, 3]).view(4, 1, 1), np.eye(4))
    >>> tissues(there, [there.with_data(there.data == 1)], there.grid)[0].data.flatten().tolist()
    [0, 1, 2, 3]
    """
    labeled = resample(dseg.with_data(dseg.data.round().to(torch.int16)), grid, mode="nearest")
    return labeled, [Volume(_share(one, grid), grid.affine) for one in probabilities]


def alignment(
    forward: Warp, inverse: Warp, centroids: dict[int, tuple[float, float, float]]
) -> tuple[np.ndarray, float, float]:
    """Return the affine part of precomputed transforms, and their consistency.

    Parameters
    ----------
    forward, inverse : Warp
        Transforms that resample the scan into the space, and back.
    centroids : dict of int to tuple
        Center (mm) of every structure of the scan.

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        Scan's mm to the template's.
    residual : float
        Median error (mm) of the structures' positions by the matrix alone.
    apart : float
        Median error (mm) of a structure's position after both transforms.

    Raises
    ------
    InputError
        If there are too few structures.

    Examples
    --------
    >>> shift = np.eye(4); shift[0, 3] = 5.0
    >>> points = {i: tuple(p) for i, p in enumerate(np.random.default_rng(0).normal(size=(9, 3)) * 40)}
    >>> matrix, residual, apart = alignment(Warp((np.linalg.inv(shift),)), Warp((shift,)), points)
    >>> matrix[0, 3].round(3).item(), round(residual, 3), round(apart, 3)
    (5.0, 0.0, 0.0)
    """
    points = np.array(list(centroids.values()))
    if len(points) < LEAST_STRUCTURES:
        raise InputError(None, f"too few structures ({len(points)})", "Check the segmentation")
    there = inverse.points(points)
    matrix = fit_affine(points, there)
    residual = np.linalg.norm(transform_points(matrix, points) - there, axis=1)
    apart = np.linalg.norm(forward.points(there) - points, axis=1)
    return matrix, float(np.median(residual)), float(np.median(apart))
