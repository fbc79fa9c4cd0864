"""Gaussian mixture of the scan's intensities, with the network's posteriors as prior.

The intensities sharpen the borders of the posteriors in any contrast (Van Leemput et al. 1999; SAMSEG, Puonti
et al. 2016), with a learned prior instead of an atlas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry import sums
from . import local_borders, partial_volume
from .neighborhood import total

GROUPS = {
    2: "wm", 7: "wm", 3: "gm", 8: "cerebellar-gm", 11: "striatum", 12: "striatum", 17: "limbic",
    18: "limbic", 26: "limbic", 10: "thalamus", 13: "pallidum", 16: "stem", 28: "stem", 4: "fluid",
    5: "fluid", 14: "fluid", 15: "fluid", 24: "fluid", 0: "rest", 6: "cerebellum", 9: "deep-gm",
    192: "callosum",
}  # fmt: skip
"""Group of structures with one intensity distribution, by FreeSurfer id.

The accumbens is grouped with amygdala and hippocampus, not with the striatum, as in SAMSEG."""


NONE = 1e-20
"""Prior probability of a structure where it cannot be."""

OUTLIERS = 0.01
"""Share of tissue of any intensity, if only tissue and CSF are separated."""


@dataclass(frozen=True)
class Fit:
    """Fitted classes.

    Attributes
    ----------
    posteriors : Tensor, shape (C, N)
        Probabilities of the structures at every voxel.
    separation : float
        Distance of the means of gray and white matter in units of their pooled deviation.
    weight : float
        Weight of the likelihood between tissues; with 0, the prior alone separates them.
    """

    posteriors: Tensor
    separation: float
    weight: float


def fit(
    intensities: Tensor,
    prior: Tensor,
    structures: tuple[int, ...],
    *,
    iterations: int = 12,
    floor: float = 1e-4,
    strength: float = 1.0,
    anchor: float = 0.25,
    fluid: float | None = None,
    far: Tensor | None = None,
) -> Fit:
    """Fit Gaussian classes by expectation-maximization.

    Parameters
    ----------
    intensities : Tensor, shape (N,)
        Bias-corrected intensities in the brain.
    prior : Tensor, shape (C, N)
        Probabilities of the structures from the network.
    structures : tuple of int
        FreeSurfer id (without side) of every row of ``prior``.
    iterations : int
        Number of steps.
    floor : float
        Least prior probability, so that the scan can overrule the network.
    strength : float
        Exponent of the likelihood; less than 1 trusts the network more.
    anchor : float
        Weight of the intensities where the network is certain, in voxels for every voxel of the class. It
        keeps classes of low contrast apart.
    fluid : float, optional
        Largest variance of CSF, relative to white matter. Partial-volume voxels widen its class.
    far : Tensor of bool, shape (C, N), optional
        Where a structure cannot be, whatever the intensities.
    """
    names = sorted({GROUPS[s] for s in structures})
    group = torch.tensor([names.index(GROUPS[s]) for s in structures])
    y = _normalized(intensities)
    log_prior = _log_prior(prior, floor, far)
    step = slice(None, None, max(1, y.numel() // 60_000))  # a few ten thousand voxels fix a mean
    fitted = _maximized(y[step], log_prior[:, step], group, names, iterations, strength, anchor, fluid)
    mean, variance, responsibility = fitted
    separation = _separation(mean, variance, names)
    weight = strength * _trust(separation)
    density = _log_density(y, mean, variance)
    if weight == strength:
        return Fit(log_prior.add_(density[group], alpha=weight).softmax(0), separation, weight)
    # Without a contrast of gray and white matter the network alone separates them; CSF may still differ.
    size = torch.zeros(len(names)).index_add_(0, group, responsibility.sum(1))
    fluid_fit = _fluid(y, density, mean, variance, size, names, strength) if "fluid" in names else None
    if fluid_fit is None and weight == 0:
        return Fit(prior, separation, 0.0)
    total = density * weight
    if fluid_fit is not None:
        tissue, water, own = fluid_fit
        rest = max(own - weight, 0.0)
        total += rest * tissue
        total[names.index("fluid")] += rest * (water - tissue)
    return Fit(log_prior.add_(total[group]).softmax(0), separation, weight)


def fit_with_partial_volume(
    intensities: Tensor,
    prior: Tensor,
    structures: tuple[int, ...],
    *,
    floor: float = 1e-4,
    fluid: float | None = None,
    far: Tensor | None = None,
    inside: Tensor | None = None,
) -> Fit:
    """Fit classes with partial volume; without a contrast of gray and white matter, fit Gaussian classes.

    Parameters
    ----------
    intensities, prior, structures, floor, far
        As for :func:`fit`.
    fluid : float, optional
        Largest variance of CSF in Gaussian classes, relative to white matter's.
    inside : Tensor of bool, shape (X, Y, Z), optional
        The brain, whose voxels the intensities are. With it, fluid shares voxels with the deep structures
        near it (:mod:`.local_borders`).

    Returns
    -------
    Fit
        Posteriors, and the separation where the prior is certain.
    """
    y = _normalized(intensities)
    classes = partial_volume.Classes(structures)
    step = max(1, y.numel() // 60_000)
    start = classes.begin(y[::step], prior[:, ::step])
    separation = classes.separation(start)
    if _trust(separation) < 1:
        return fit(intensities, prior, structures, floor=floor, fluid=fluid, far=far)
    prior = partial_volume.softened(prior, structures, partial_volume.exponent(separation))
    log_prior = _log_prior(prior, floor, far)
    fitted = classes.maximize(y[::step], log_prior[:, ::step], start)
    density = partial_volume.at(fitted.density, y)
    if inside is not None:
        local_borders.add(density, y, prior, inside, classes, fitted)
    log_density = density.log_()
    for row, position in zip(log_prior, classes.group.tolist(), strict=True):
        row += log_density[position]
    return Fit(log_prior.softmax(0), separation, 1.0)


def _log_prior(prior: Tensor, floor: float, far: Tensor | None) -> Tensor:
    """Return the logarithm of a prior of at least ``floor``, almost none where a structure is ``far``."""
    floored = prior.clamp(min=floor)
    if far is not None:
        floored.masked_fill_(far, NONE)
    found = floored.log_()
    return found.sub_(torch.logsumexp(found, 0))


def _normalized(intensities: Tensor) -> Tensor:
    """Return the intensities scaled to [0, 1] by percentiles, clipped slightly beyond."""
    sample = intensities[:: max(1, len(intensities) // 100_000)]
    low, high = torch.quantile(sample, torch.tensor([0.001, 0.999]))
    return ((intensities - low) / (high - low).clamp(min=1e-6)).clamp(-0.2, 1.2)


def _separation(mean: Tensor, variance: Tensor, names: list[str]) -> float:
    """Return the distance of gray and white matter in pooled standard deviations; 0 without either."""
    if not {"gm", "wm"} <= set(names):
        return 0.0
    gm, wm = names.index("gm"), names.index("wm")
    pooled = ((variance[gm] + variance[wm]) / 2).sqrt()
    return float((mean[gm] - mean[wm]).abs() / pooled)


def _maximized(
    y: Tensor,
    log_prior: Tensor,
    group: Tensor,
    names: list[str],
    iterations: int,
    strength: float,
    anchor: float,
    fluid: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of every class, and the structures' responsibilities."""
    responsibility = log_prior.exp()
    sure = torch.where(responsibility > 0.7, responsibility, responsibility * 0.02)
    start = _held(_moments(y, sure, group, len(names)), names, fluid)
    mean, variance = start
    for step in range(iterations):
        if step:
            moments = _moments(y, responsibility, group, len(names), start, anchor)
            mean, variance = _held(moments, names, fluid)
        responsibility = (log_prior + strength * _log_density(y, mean, variance)[group]).softmax(0)
    return mean, variance, responsibility


def _trust(separation: float) -> float:
    """Return the weight of a separation of two classes: 0 below 0.4 deviations, 1 from one deviation."""
    return min(1.0, max(0.0, (separation - 0.4) / 0.6))


def _fluid(
    y: Tensor,
    density: Tensor,
    mean: Tensor,
    variance: Tensor,
    size: Tensor,
    names: list[str],
    strength: float,
) -> tuple[Tensor, Tensor, float] | None:
    """Return the log densities of tissue and of CSF, and their weight; None if the weight is 0.

    A small share of tissue has any intensity: a lesion as bright as CSF stays tissue where the prior is high.
    """
    k = names.index("fluid")
    share = size / size.sum()
    share[k] = 0
    share = share / share.sum().clamp(min=1e-6)
    middle = (share * mean).sum()
    spread = (share * (variance + (mean - middle) ** 2)).sum()
    separation = float((mean[k] - middle).abs() / ((variance[k] + spread) / 2).sqrt())
    own = strength * _trust(separation)
    if own == 0:
        return None
    gaussian = -0.5 * (y - middle) ** 2 / spread - 0.5 * spread.log()
    anything = math.log(OUTLIERS / 1.4 * math.sqrt(2 * math.pi))
    tissue = torch.logaddexp(gaussian + math.log(1 - OUTLIERS), torch.full_like(y, anything))
    return tissue, density[k], own


def _moments(
    y: Tensor,
    responsibility: Tensor,
    group: Tensor,
    count: int,
    start: tuple[Tensor, Tensor] | None = None,
    anchor: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every class; ``start`` is the mean of a conjugate prior."""
    shared = torch.zeros(count, y.numel()).index_add_(0, group, responsibility)
    # A row with almost no voxel gets the mean of all, which avoids a division by zero.
    size = shared.sum(1) + 1e-3
    total, mean = size, (sums.product(shared, y) + 1e-3 * sums.total(y) / y.numel()) / size
    if start is not None:
        held = anchor * size
        total = size + held
        mean = (size * mean + held * start[0]) / total
    variance = (shared * (y - mean[:, None]) ** 2).sum(1)
    if start is not None:
        variance = variance + held * (start[1] + (mean - start[0]) ** 2)
    return mean, variance / total + 4e-4


def _held(
    moments: tuple[Tensor, Tensor], names: list[str], most_fluid: float | None
) -> tuple[Tensor, Tensor]:
    """Return the moments with the variance of fluid limited relative to white matter's."""
    mean, variance = moments
    if most_fluid is not None and {"fluid", "wm"} <= set(names):
        k, most = names.index("fluid"), most_fluid * variance[names.index("wm")]
        variance[k] = torch.minimum(variance[k], most)
    return mean, variance


def _log_density(y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * (y - mean[:, None]) ** 2 / variance[:, None] - 0.5 * variance.log()[:, None]


def smoothed(posteriors: Tensor, inside: Tensor, share: float) -> Tensor:
    """Mix every voxel's posteriors with the mean of its neighbors in the brain, in place.

    Parameters
    ----------
    posteriors : Tensor, shape (C, X, Y, Z)
        Probabilities; changed in place.
    inside : Tensor of bool, shape (X, Y, Z)
        Brain.
    share : float
        Weight of the mean, 0 to 1.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        The changed posteriors.
    """
    weight = total(inside.float()).clamp_(min=1e-6)
    for values in posteriors:
        values.lerp_(total(values).div_(weight), share)
    return posteriors
