"""Linear alignment of matching points, in closed form and robust to outliers."""

from __future__ import annotations

import numpy as np


def fit_affine(
    moving: np.ndarray,
    fixed: np.ndarray,
    weights: np.ndarray | None = None,
    kind: str = "affine",
    iterations: int = 10,
) -> np.ndarray:
    """Return the matrix from ``moving`` points to ``fixed`` points.

    Least squares in closed form, repeated with Cauchy weights to reduce the influence of misplaced or
    lesioned structures (iteratively reweighted least squares; Holland & Welsch 1977). Rigid and similarity
    transforms after Umeyama (1991).

    Parameters
    ----------
    moving, fixed : ndarray, shape (n, 3)
        Matching points in mm.
    weights : ndarray, shape (n,), optional
        Reliability of each point.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom: 12, 7 or 6.
    iterations : int
        Number of reweightings; 0 is plain least squares.

    Returns
    -------
    ndarray, shape (4, 4)
        The matrix.

    Raises
    ------
    ValueError
        If there are fewer than 4 points (3 for rigid and similarity), or, for an affine, all are in one
        plane.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(9, 3)) * 40
    >>> turn = np.array([[0, -1.1, 0], [1.1, 0, 0], [0, 0, 1.1]])
    >>> moved = points @ turn.T + [3, 2, 1]
    >>> np.allclose(fit_affine(points, moved)[:3], np.c_[turn, [3, 2, 1]])
    True
    """
    least = 4 if kind == "affine" else 3
    if len(moving) < least:
        raise ValueError(f"too few matching points ({len(moving)}); kind {kind!r} needs {least}")
    base = np.ones(len(moving)) if weights is None else np.asarray(weights, float)
    solve = _affine if kind == "affine" else lambda m, f, w: _similarity(m, f, w, kind == "similarity")
    matrix = solve(moving, fixed, base)
    for _ in range(iterations):
        error = np.linalg.norm(moving @ matrix[:3, :3].T + matrix[:3, 3] - fixed, axis=1)
        scale = max(1.4826 * np.median(error), 1e-6)
        matrix = solve(moving, fixed, base / (1 + (error / (2.4 * scale)) ** 2))
    return matrix


def _affine(moving: np.ndarray, fixed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    design = np.c_[moving, np.ones(len(moving))]
    root = np.sqrt(weights)[:, None]
    solution, _, rank, _ = np.linalg.lstsq(design * root, fixed * root, rcond=None)
    if rank < 4:
        raise ValueError("all points are in one plane; use kind 'similarity' or 'rigid'")
    return np.vstack([solution.T, [0, 0, 0, 1]])


def _similarity(moving: np.ndarray, fixed: np.ndarray, weights: np.ndarray, scaled: bool) -> np.ndarray:
    share = weights / weights.sum()
    mean_m, mean_f = share @ moving, share @ fixed
    a, b = moving - mean_m, fixed - mean_f
    u, s, vt = np.linalg.svd((b * share[:, None]).T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = (s * np.diag(sign)).sum() / (share @ (a**2).sum(1)) if scaled else 1.0
    out = np.eye(4)
    out[:3, :3] = scale * rotation
    out[:3, 3] = mean_f - scale * rotation @ mean_m
    return out
