"""Heads that are tilted further than those of the training: they are computed upright."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry.volume import Volume
from .place import Place

LIMIT = 20.0
"""Angle (degrees) between a head and the atlas frame up to which it is computed along the scan's own axes.

The networks learned from heads as they lay in scanners, and rotations of 12 to 15 degrees. A real head that
is tilted by 16 degrees is better as it is; one tilted by 23 degrees the other way is better upright.
"""


def upright(to_atlas: np.ndarray) -> np.ndarray | None:
    """Return the rotation about the brain's center that makes a head upright; None within :data:`LIMIT`.

    Parameters
    ----------
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.

    Returns
    -------
    ndarray, shape (4, 4), or None
        From the scan's mm to those of the upright head.

    Examples
    --------
    >>> turn = np.eye(4)
    >>> turn[:3, :3] = Rotation.from_euler("x", 25, degrees=True).as_matrix()
    >>> upright(turn)[:3, :3].round(2).tolist() == turn[:3, :3].round(2).tolist()
    True
    >>> upright(np.diag([1.1, 1.0, 0.9, 1.0])) is None
    True
    """
    if angle(to_atlas) <= LIMIT:
        return None
    turn = _rotation(to_atlas)
    center = np.linalg.inv(to_atlas)[:3, 3]
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = center - turn @ center
    return matrix


def angle(to_atlas: np.ndarray) -> float:
    """Return the angle (degrees) between a head and the atlas frame.

    Parameters
    ----------
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    """
    return float(np.degrees(Rotation.from_matrix(_rotation(to_atlas)).magnitude()))


def _rotation(to_atlas: np.ndarray) -> np.ndarray:
    """Return the rotation that is nearest to an affine."""
    u, _, vt = np.linalg.svd(to_atlas[:3, :3])
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """Return the same voxels in another place.

    Parameters
    ----------
    volume : Volume
        The volume.
    matrix : ndarray, shape (4, 4)
        From its mm to the new ones.
    """
    return Volume(volume.data, matrix @ volume.affine)


def moved_place(place: Place, matrix: np.ndarray) -> Place:
    """Return where a brain lies after a movement of its head.

    Parameters
    ----------
    place : Place
        Where it lies before.
    matrix : ndarray, shape (4, 4)
        From the mm before to those after.
    """
    return Place(moved(place.distance, matrix), place.to_atlas @ np.linalg.inv(matrix))
