"""Stationary velocity fields on one grid, in voxels: exponential, smoothing and Jacobian.

A field has shape (3, X, Y, Z); its channels are displacements along the array's axes. The flow of a
velocity is a diffeomorphism, and the flow of its negative is the inverse (Arsigny et al. 2006).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..geometry.axes import triple
from ..geometry.smoothing import weighted
from ..geometry.trilinear import sample


def identity(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return voxel indices, shape (3, X, Y, Z), with the type and device of ``like``."""
    lines = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def sample_at(values: Tensor, where: Tensor, some: Tensor | None) -> Tensor:
    """Sample values by trilinear interpolation at some voxels only; the others get zero.

    Parameters
    ----------
    values : Tensor, shape (C, X, Y, Z)
        Values.
    where : Tensor, shape (3, x, y, z)
        Voxel indices of the samples.
    some : Tensor of int64, shape (N,), or None
        Flat indices into ``where`` of the voxels to sample; None for all.

    Returns
    -------
    Tensor, shape (C, x, y, z)
        The samples.
    """
    if some is None:
        return sample(values, where)
    found = sample(values, where.flatten(1)[:, some, None, None])
    out = values.new_zeros(len(values), where[0].numel())
    out[:, some] = found[..., 0, 0]
    return out.view(-1, *where.shape[1:])


def exponential(
    velocity: Tensor,
    squarings: int | None = None,
    index: Tensor | None = None,
    some: Tensor | None = None,
) -> Tensor:
    """Compute the displacement of the flow of ``velocity`` at time one, by scaling and squaring.

    Parameters
    ----------
    velocity : Tensor, shape (3, X, Y, Z)
        Velocity (voxels).
    squarings : int, optional
        Number of self-compositions; by default the first step is at most a quarter voxel.
    index : Tensor, shape (3, X, Y, Z), optional
        ``identity(...)``, to save time.
    some : Tensor of int64, shape (N,), optional
        Flat indices of the voxels to compute; elsewhere the displacement is the velocity.

    Returns
    -------
    Tensor, shape (3, X, Y, Z)
        Displacements (voxels).

    Examples
    --------
    >>> shift = torch.full((3, 4, 4, 4), 0.5)
    >>> torch.allclose(exponential(shift), shift)
    True
    """
    if squarings is None:
        most = float(velocity.detach().abs().max())
        squarings = max(1, math.ceil(math.log2(max(most, 1e-6) * 4)))
    index = identity(triple(velocity.shape[1:]), velocity) if index is None else index
    flow = velocity / 2**squarings
    for _ in range(squarings):
        if some is None:
            flow = flow + sample(flow, index + flow)
            continue
        twice = flow.flatten(1)
        moved = sample(flow, (index + flow).flatten(1)[:, some, None, None])[..., 0, 0]
        moved += twice[:, some]
        twice = 2 * twice
        twice[:, some] = moved
        flow = twice.view_as(flow)
    return flow


def inverse_consistent(there: Tensor, back: Tensor, rounds: int = 1) -> tuple[Tensor, Tensor]:
    """Reduce the inverse consistency error of two displacements, symmetrically.

    Each field is corrected by half of the composition's residual displacement.

    Parameters
    ----------
    there, back : Tensor, shape (3, X, Y, Z)
        Displacements (voxels), such as the flows of a velocity and of its negative.
    rounds : int
        Number of corrections; the first one about halves the error.

    Returns
    -------
    there, back : Tensor, shape (3, X, Y, Z)
        Corrected displacements (voxels).
    """
    index = identity(triple(there.shape[1:]), there)
    for _ in range(rounds):
        after = there + sample(back, index + there, "zeros")
        before = back + sample(there, index + back, "zeros")
        there, back = there - after / 2, back - before / 2
    return there, back


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Smooth a field (C, X, Y, Z) by a Gaussian of ``sigma`` voxels; values outside are zero."""
    if sigma <= 0:
        return field
    radius = max(1, math.ceil(2.5 * sigma))
    t = torch.arange(-radius, radius + 1, dtype=field.dtype, device=field.device)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    for axis in (1, 2, 3):
        field = weighted(field, axis, kernel / kernel.sum())
    return field


def gradient(values: Tensor) -> list[Tensor]:
    """Return the central differences of values (C, X, Y, Z) along each axis, zero at the edge."""
    out = []
    for axis in (1, 2, 3):
        size = values.shape[axis]
        slope = torch.zeros_like(values)
        slope.narrow(axis, 1, size - 2).copy_(
            (values.narrow(axis, 2, size - 2) - values.narrow(axis, 0, size - 2)) / 2
        )
        out.append(slope)
    return out


def jacobian(displacement: Tensor) -> Tensor:
    """Compute the Jacobian determinant of ``x + displacement(x)``, by forward differences.

    Forward differences detect folds between neighbors, which central ones may miss.

    Parameters
    ----------
    displacement : Tensor, shape (3, X, Y, Z)
        Displacements (voxels).

    Returns
    -------
    Tensor, shape (X - 1, Y - 1, Z - 1)
        Determinants.

    Examples
    --------
    >>> bool((jacobian(torch.zeros(3, 4, 4, 4)) == 1).all())
    True
    """
    d = displacement
    x, y, z = (n - 1 for n in d.shape[1:])
    base = d[:, :x, :y, :z]
    rows = [d[:, 1:, :y, :z] - base, d[:, :x, 1:, :z] - base, d[:, :x, :y, 1:] - base]
    a, b, c = (
        torch.stack([row[k] + (1.0 if k == axis else 0.0) for k in range(3)]) for axis, row in enumerate(rows)
    )
    return (a * torch.linalg.cross(b, c, dim=0)).sum(0)


def taper(shape: tuple[int, int, int], width: int) -> Tensor:
    """Return weights, shape ``shape``, that fall to zero over ``width`` voxels at the grid's edge."""
    out = torch.ones(shape)
    for axis, n in enumerate(shape):
        t = torch.arange(n, dtype=torch.float32)
        edge = torch.minimum(t, n - 1 - t).clamp(0, width) / width
        view = [1, 1, 1]
        view[axis] = -1
        out = out * (0.5 - 0.5 * torch.cos(math.pi * edge)).view(view)
    return out
