"""Whether the orientation in a scan's header fits the head, and the orientation that does.

The coarse network takes all heads as upright, and finds structures in a head that lies on its side. Here, all
24 quarter turns of the scan are compared with a mean head: the score is the share of the variance of the
intensities that its classes (background, bone, brain tissues) explain (the correlation ratio, Roche et al.
1998), which needs no known contrast. A better turn counts if the coarse network does not contradict it. Left
and right look alike: which of two mirror images is meant remains unknown.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import FOLDER
from ..errors import InputError
from ..geometry.orientation import closest_axes
from ..geometry.volume import Volume, lattice, normalize, resample, transform_points
from . import head
from .adam import Adam
from .head import Coarse
from .rotation_search import explained, matrices_of

POINTS, STEPS = 2500, 40
"""Number of voxels for the scores, and steps of the refinement of every turn."""

FIRST, KEPT = 12, 6
"""Steps with all turns, and number of turns that are refined further: the header's and the best ones."""

LARGEST = 0.6
"""Largest rotation (radians) of the refinement: less than half a quarter turn."""

GROWTH, STRETCH = 0.35, 0.12
"""Largest logarithm of the size, and of the size along one axis on top of it."""

STARTS = ((0.0, 0.0, 0.0), (0.0, 0.0, 40.0), (0.0, 0.0, -30.0), (0.0, 30.0, 0.0), (0.0, -30.0, 0.0))
"""Shifts (mm) of the scan's center from the mean head's, with which the refinement starts."""

FOREGROUND = 0.08
"""Intensity, relative to the range, above which a voxel is not background."""

LEAST_GAIN = 0.03
"""Smallest gain of explained variance by another turn. On whole heads and brains with right headers it was at
most 0.015, on turned ones mostly above 0.05."""


@dataclass(frozen=True)
class Turn:
    """An orientation that fits the head better than that of the header.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Voxel index to mm in that orientation; the center of the scan stays in its place.
    before, after, mirrored : str
        Axis codes of the header, of ``affine``, and of its mirror image, which fits as well.
    gain : float
        Gain of explained variance.
    """

    affine: np.ndarray
    before: str
    after: str
    mirrored: str
    gain: float

    @property
    def words(self) -> str:
        """What is wrong, as a sentence without a period."""
        return (
            f"The orientation in the header ({self.before}) does not fit the head; the voxels seem to be "
            f"stored as {self.after} or, mirrored, {self.mirrored}"
        )


REMEDY = "Use --reorient to correct a copy"
"""What to do about it."""


@dataclass(frozen=True)
class Change:
    """A corrected orientation.

    Attributes
    ----------
    before, after : str
        Axis codes of the header, and those that replace them.
    mirrored : str
        Axis codes of the mirror image if left and right are unknown; else empty.
    """

    before: str
    after: str
    mirrored: str = ""

    @property
    def note(self) -> str:
        """Note for the report."""
        words = (
            f"The orientation was corrected (--reorient): the voxels are taken as {self.after}, not as "
            f"{self.before} as in the header."
        )
        return f"{words} {self.caution}." if self.mirrored else words

    @property
    def caution(self) -> str:
        """Reason for a QC rating of at most *check*; empty if left and right are known."""
        if not self.mirrored:
            return ""
        return (
            "Left and right cannot be told from the image: if they are exchanged, use "
            f"--reorient {self.mirrored}"
        )


def correct(
    volume: Volume, how: str, *, model: str = "head-coarse", device: str = "cpu"
) -> tuple[Volume, Change | None]:
    """Return a scan with the orientation that fits the head.

    Parameters
    ----------
    volume : Volume
        The scan.
    how : str
        ``auto``, or the true axis codes, such as ``LIA``.
    model : str
        Weights of the coarse network; empty for brains that may lie in any direction: ``auto`` leaves them.
    device : str
        Device of the network.

    Returns
    -------
    volume : Volume
        The same voxels with another affine, or the scan itself.
    change : Change or None
        None if the header fits.
    """
    if how != "auto":
        before = codes(volume.affine)
        if before == how:
            return volume, None
        return Volume(volume.data, oriented(volume, how)), Change(before, how)
    turn = check(volume, model=model, device=device) if model else None
    if turn is None:
        return volume, None
    return Volume(volume.data, turn.affine), Change(turn.before, turn.after, turn.mirrored)


def check(
    volume: Volume,
    *,
    model: str = "head-coarse",
    device: str = "cpu",
    found: Coarse | None = None,
    notes: list[str] | None = None,
) -> Turn | None:
    """Return the orientation that fits the head, if that of the header does not.

    Parameters
    ----------
    volume : Volume
        The scan, with or without skull.
    model : str
        Weights of the coarse network.
    device : str
        Device of the network.
    found : Coarse, optional
        Its result in the orientation of the header, if it is known.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Turn or None
        None if the header fits, or if the evidence is weak.
    """
    if head.is_partial(volume):
        return None  # a slab looks alike in several orientations
    turns = quarter_turns()
    scores = scores_of(volume, turns)
    best = int(scores.argmax())
    gain = float(scores[best] - scores[0])
    if gain < LEAST_GAIN:
        return None
    other = Volume(volume.data, turned(volume, turns[best]))
    try:
        confirmed = head.find(other, model=model, device=device, notes=notes)
    except InputError:
        return None
    if found is None:
        found = _found(volume, model, device)
    if found is not None and not _agrees(confirmed, found, volume, other):
        return None
    return _choose(volume, turns[best], gain)


def _found(volume: Volume, model: str, device: str) -> Coarse | None:
    """Return the coarse network's result; None if it finds no brain."""
    try:
        return head.find(volume, model=model, device=device)
    except InputError:
        return None


def _agrees(confirmed: Coarse, found: Coarse, volume: Volume, other: Volume) -> bool:
    """Return whether the other orientation is no worse for the coarse network in any of three measures."""
    return (
        confirmed.error <= found.error
        or confirmed.confidence >= found.confidence
        or head.explained(other, confirmed) >= head.explained(volume, found)
    )


def quarter_turns() -> list[np.ndarray]:
    """Return the 24 rotations by quarter turns, shape (3, 3); the first one is the identity."""
    out = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[order, range(3)] = signs
            if np.linalg.det(matrix) > 0:
                out.append(matrix)
    return out


def turned(volume: Volume, matrix: np.ndarray) -> np.ndarray:
    """Return the affine of a volume after a rotation or reflection about its center.

    Parameters
    ----------
    volume : Volume
        The scan.
    matrix : ndarray, shape (3, 3)
        Rotation or reflection of the mm.
    """
    center = transform_points(volume.affine, (np.array(volume.grid.shape) - 1) / 2)
    about = np.eye(4)
    about[:3, :3] = matrix
    about[:3, 3] = center - matrix @ center
    return about @ volume.affine


def codes(affine: np.ndarray) -> str:
    """Return the anatomical directions of the voxel axes.

    Examples
    --------
    >>> codes(np.diag([-1.0, 1.0, 2.0, 1.0]))
    'LAS'
    """
    axes, signs = closest_axes(affine)
    return "".join(("LPI", "RAS")[int(s > 0)][a] for a, s in zip(axes, signs, strict=True))


def oriented(volume: Volume, wanted: str) -> np.ndarray:
    """Return the affine of a volume whose voxel axes point to other anatomical directions.

    Parameters
    ----------
    volume : Volume
        The scan.
    wanted : str
        Three axis codes, such as ``LIA``.
    """
    matrix = np.zeros((3, 3))
    for code, axis, sign in zip(wanted, *closest_axes(volume.affine), strict=True):
        positive = code in "RAS"
        matrix[("RAS" if positive else "LPI").index(code), axis] = sign * (1.0 if positive else -1.0)
    return turned(volume, matrix)


def _choose(volume: Volume, turn: np.ndarray, gain: float) -> Turn:
    """Return the more plausible of a turn and its mirror image.

    A header without any orientation (voxel axes along x, y and z) most often belongs to voxels in
    radiological order, with a negative determinant. Otherwise, the fewer axes change the better.
    """
    before = codes(volume.affine)
    both = [turned(volume, turn), turned(volume, np.diag([-1.0, 1.0, 1.0]) @ turn)]
    linear = volume.affine[:3, :3]
    if np.allclose(linear, np.diag(np.abs(np.diag(linear)))):
        both.sort(key=lambda affine: float(np.linalg.det(affine[:3, :3])))
    else:
        both.sort(key=lambda affine: sum(a != b for a, b in zip(codes(affine), before, strict=True)))
    return Turn(both[0], before, codes(both[0]), codes(both[1]), gain)


@cache
def _mean_head() -> tuple[Tensor, float, Tensor]:
    """Return the mean head's classes, its voxel size (mm), and the head's center from the grid's (mm)."""
    with (FOLDER / "atlases" / "head.npz").open("rb") as stream, np.load(stream) as arrays:
        maps, affine = torch.from_numpy(arrays["maps"]).float() / 255, arrays["affine"]
    maps /= maps.sum(0).clamp(min=1e-3)
    spacing = float(affine[0, 0])
    inside = (1 - maps[0]).double()
    center = []
    for axis, n in enumerate(inside.shape):
        line = inside.sum(tuple(a for a in range(3) if a != axis))
        center.append(float((line * (torch.arange(n) - (n - 1) / 2)).sum() / line.sum()) * spacing)
    return maps, spacing, torch.tensor(center)


def scores_of(volume: Volume, turns: list[np.ndarray]) -> Tensor:
    """Return the share of the intensities' variance that the mean head explains after each turn.

    Parameters
    ----------
    volume : Volume
        The scan.
    turns : list of ndarray, shape (3, 3)
        Rotations of its mm.

    Returns
    -------
    Tensor, shape (turns,)
        Shares, 0 to 1, after refinement of rotation, position and size.
    """
    maps, spacing, center = _mean_head()
    small = resample(volume, lattice(volume, spacing))
    image = normalize(small.data)
    bright = image > FOREGROUND
    near = (F.max_pool3d(bright[None, None].float(), 3, 1, 1)[0, 0] > 0).nonzero()
    index = near[torch.linspace(0, len(near) - 1, min(POINTS, len(near))).long()]
    values = image[tuple(index.T)]
    points = torch.from_numpy(transform_points(small.affine, index.numpy().astype(float)))
    own = transform_points(small.affine, bright.nonzero().double().mean(0).numpy())
    points = (points - torch.from_numpy(own)).float()
    matrices = torch.from_numpy(np.stack(turns)).float()
    starts = center + torch.tensor(STARTS)
    first = torch.stack(
        [explained(matrices @ points.T + one[None, :, None], values, maps, spacing) for one in starts]
    )
    return _refine(matrices, points, values, starts[first.argmax(0)])


def _refine(turns: Tensor, points: Tensor, values: Tensor, offset: Tensor) -> Tensor:
    """Return the scores of all turns after gradient ascent, first on blurred maps.

    The first turn and the best of the others are refined to the end; the rest keep the score that they had
    when they were left out.
    """
    maps, spacing, _ = _mean_head()
    blurred = F.avg_pool3d(maps[None], 3, 1, 1)[0]
    spin, move, grow, stretch = (torch.zeros(len(turns), n, requires_grad=True) for n in (3, 3, 1, 3))
    optimizer = Adam([((spin, grow, stretch), 0.04), ((move,), 0.2)])
    scores, left = torch.zeros(len(turns)), torch.arange(len(turns))

    def place() -> Tensor:
        size = spin.norm(dim=1, keepdim=True).clamp(min=1e-6)
        rotation = matrices_of(spin / size * LARGEST * torch.tanh(size / LARGEST)) @ turns[left]
        scale = (GROWTH * torch.tanh(grow) + STRETCH * torch.tanh(stretch)).exp()
        # A unit of translation is ten millimeters.
        return (scale[:, :, None] * rotation) @ points.T + (offset[left] + 10 * move)[:, :, None]

    for step in range(STEPS):
        if step == FIRST:
            with torch.no_grad():
                scores = explained(place(), values, maps, spacing)
            best = scores[1:].argsort(descending=True)[: KEPT - 1] + 1
            left = torch.cat([torch.zeros(1, dtype=best.dtype), best])
            spin, grow, stretch, move = optimizer.keep(left)
        fit = explained(place(), values, blurred if step < STEPS * 2 // 3 else maps, spacing)
        optimizer.step(-fit.sum())
    with torch.no_grad():
        scores[left] = explained(place(), values, maps, spacing)
    return scores
