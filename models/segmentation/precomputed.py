"""Results that others computed, brought to the scan: masks, structures and tissue probabilities."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.affine import fit_affine
from ..geometry.distance import signed_distance
from ..geometry.volume import Grid, Volume, lattice, resample, transform_points
from ..population import labels
from .masks import is_stripped
from .result import SegmentationResult

CORTEX = {1: 3, 2: 42}
"""Parcels of the cortex (FreeSurfer ids 1000 to 2999, by their thousand) and the cortex that they are of."""

LOOK = 3.0
"""Voxel size (mm) at which it is looked for a skull around a mask."""


def mask(given: Volume, grid: Grid) -> Volume:
    """A brain mask on the grid of the scan.

    Parameters
    ----------
    given : Volume
        More than 0 in the brain, on any grid in the scan's space.
    grid : Grid
        That of the scan.

    Raises
    ------
    InputError
        If nothing of the brain lies in the scan.
    """
    inside = resample(given.with_data((given.data > 0).float()), grid).data > 0.5
    if not bool(inside.any()):
        raise InputError(
            None,
            "no voxel of the brain mask lies in the image",
            "Give a mask that was made from this image, in its space",
        )
    return Volume(inside.to(torch.uint8), grid.affine)


def stripped(scan: Volume, brain: Volume, mode: str = "auto") -> bool:
    """Whether a scan comes without skull, given its brain; modes as for skull-stripping."""
    if mode != "auto":
        return mode == "skip"
    grid = lattice(scan, LOOK)
    inside = resample(brain.with_data((brain.data > 0).float()), grid).data.numpy() > 0.5
    distance = signed_distance(inside, grid.spacing)
    seen = Volume(torch.from_numpy(distance.astype(np.float32)), grid.affine)
    return is_stripped(scan, seen)


def segmentation(
    structures: Volume,
    brain: Volume,
    probabilities: dict[str, Volume] | None = None,
    label_table: str = "adult",
) -> SegmentationResult:
    """A segmentation from labels that others made.

    Parameters
    ----------
    structures : Volume
        FreeSurfer ids on any grid in the scan's space; parcels of the cortex count as cortex.
    brain : Volume
        The brain mask, on the scan's grid; what lies outside of it is background.
    probabilities : dict of str to Volume, optional
        ``GM``, ``WM`` and ``CSF``; by default the labels' own.
    label_table : str
        Label table of the structures.

    Raises
    ------
    InputError
        If there are too few structures in it.
    """
    grid, table = brain.grid, labels.load(label_table)
    ids = resample(structures.with_data(structures.data.round().int()), grid, mode="nearest").data.numpy()
    for thousand, cortex in CORTEX.items():
        ids = np.where((ids >= 1000 * thousand) & (ids < 1000 * (thousand + 1)), cortex, ids)
    inside = brain.data.numpy() > 0
    known = np.isin(ids, [label.index for label in table if label.index]) & inside
    found = len(np.unique(ids[known]))
    if found < 6:
        raise InputError(
            None,
            f"only {found} of its labels are FreeSurfer's ids of structures",
            "Give a segmentation by FreeSurfer's ids, such as aseg",
        )
    notes = []
    odd = sorted(set(np.unique(ids[inside & ~known & (ids != 0)]).tolist()))
    if odd:
        notes.append(
            f"Labels {', '.join(map(str, odd[:8]))} of the given segmentation are not in the label table: "
            "their voxels went to the nearest structure."
        )
    _, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    ids = np.where(inside, ids[tuple(nearest)], 0).astype(np.int16)
    dseg = table.lookup("dseg")[ids]
    if probabilities is None:
        shares = {
            name: torch.from_numpy((dseg == k).astype("f4")) for k, name in enumerate(labels.DSEG_NAMES, 1)
        }
        notes.append("Tissue probabilities are those of the given labels: 0 or 1.")
    else:
        shares = {name: _share(probabilities[name], grid) for name in labels.DSEG_NAMES}
    return SegmentationResult(
        Volume(torch.from_numpy(ids), grid.affine),
        Volume(torch.from_numpy(table.lookup("tissue")[ids].astype(np.uint8)), grid.affine),
        {name: Volume(share, grid.affine) for name, share in shares.items()},
        *_measures(ids, grid),
        notes,
    )


def _share(probability: Volume, grid: Grid) -> torch.Tensor:
    return resample(probability.with_data(probability.data.float()), grid).data.clamp(0, 1)


def _measures(ids: np.ndarray, grid: Grid) -> tuple[dict[int, float], dict[int, tuple[float, float, float]]]:
    """Volumes (mm3) and centres (mm) of the labels."""
    present = [int(index) for index in np.unique(ids) if index]
    counts = np.bincount(ids.ravel())
    centres = ndimage.center_of_mass(np.ones(ids.shape, bool), ids, present)
    points = transform_points(grid.affine, np.array(centres).reshape(-1, 3))
    volumes = {index: float(counts[index]) * grid.voxel_volume for index in present}
    return volumes, {
        index: (float(x), float(y), float(z)) for index, (x, y, z) in zip(present, points, strict=True)
    }


def tissues(dseg: Volume, probabilities: list[Volume], grid: Grid) -> tuple[Volume, list[Volume]]:
    """Tissue labels (1 GM, 2 WM, 3 CSF) and their probabilities on the grid of the scan.

    Examples
    --------
    >>> there = Volume(torch.tensor([0, 1, 2, 3]).view(4, 1, 1), np.eye(4))
    >>> tissues(there, [there.with_data(there.data == 1)], there.grid)[0].data.flatten().tolist()
    [0, 1, 2, 3]
    """
    labelled = resample(dseg.with_data(dseg.data.round().to(torch.int16)), grid, mode="nearest")
    return labelled, [Volume(_share(one, grid), grid.affine) for one in probabilities]


def alignment(
    forward: Warp, inverse: Warp, centroids: dict[int, tuple[float, float, float]]
) -> tuple[np.ndarray, float, float]:
    """What is affine in given transforms, and how well they fit together.

    Parameters
    ----------
    forward, inverse : Warp
        What brings the scan into the space, and back.
    centroids : dict of int to tuple
        Centre (mm) of every structure of the scan.

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        Scan's mm to the template's.
    residual : float
        Median distance (mm) of the structures from where the matrix alone has them.
    apart : float
        Median distance (mm) of a structure from itself, there and back.

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
    if len(points) < 6:
        raise InputError(None, f"only {len(points)} structures were found in it", "Look at the segmentation")
    there = inverse.points(points)
    matrix = fit_affine(points, there)
    residual = np.linalg.norm(transform_points(matrix, points) - there, axis=1)
    apart = np.linalg.norm(forward.points(there) - points, axis=1)
    return matrix, float(np.median(residual)), float(np.median(apart))
