"""Intensity classes with partial volume: a label's voxels are pure, or shared with a neighboring tissue.

A scanner averages the tissues of a voxel. At 1 mm, a third of the cortex and most of the thin white matter of
the gyri is shared. With one Gaussian per class the wider class wins these voxels: the border lies too deep.
Here a class has voxels whose share of the tissue is uniform between none and all (Laidlaw et al. 1998; Van
Leemput et al. 2003), so that the posterior in a shared voxel is the tissue's share.

The posteriors of a network are not independent of the intensities that it has seen. As a prior of two tissues
at a border, their log odds are therefore multiplied by an exponent below one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry import sums

GROUPS = {
    2: "wm", 7: "cerebellar-wm", 3: "gm", 8: "cerebellar-gm", 11: "caudate", 12: "putamen", 17: "limbic",
    18: "limbic", 26: "limbic", 10: "thalamus", 13: "pallidum", 16: "stem", 28: "stem", 4: "fluid",
    5: "csf", 14: "csf", 15: "csf", 24: "csf", 0: "rest",
}  # fmt: skip
"""Group of structures with one intensity distribution, by FreeSurfer id."""

BORDERS = (("wm", "gm"), ("gm", "csf"), ("cerebellar-wm", "cerebellar-gm"))
"""Groups that share voxels. The folia of the cerebellum are thinner than a voxel: protocols label the fluid
between them as cortex, so that it has no border with fluid."""

TIED = (("wm", "gm"),)
"""Groups with one variance: what remains without partial volume is noise. Cerebellar cortex holds fluid."""

PAIRS = ((2, 3, 1.0), (7, 8, 0.85))
"""Structures (FreeSurfer ids) whose prior log odds have an exponent, and the share of the softening of
:func:`exponent` that they get: less in the cerebellum, whose branches are finer than the voxels."""

SAME = ("fluid", "csf")
"""Groups with one mean and variance. Lateral ventricles have no shared voxels: their walls would thicken."""

LARGEST_VARIANCE = {"fluid": 2.0, "csf": 2.0}
"""Largest variance of fluids, relative to white matter's where the prior is certain."""

MOST = 0.4
"""Largest share of a class's voxels in one border."""

CERTAIN = 0.9
"""Prior probability above which a voxel's intensity is used for the first estimate."""

SHARES = 8
"""Number of shares over which a border is integrated."""

LOW, HIGH, BINS = -0.2, 1.2, 701
"""Range and number of the intensities at which densities are computed."""

EXPONENT, WEAK, STRONG = 0.2, 1.0, 3.0
"""Exponent at a separation of gray and white matter of ``STRONG`` deviations; 1 below ``WEAK`` deviations."""

ITERATIONS, ANCHOR = 15, 0.25
"""Steps of expectation-maximization, and weight of the first estimate, in voxels per voxel of a class."""


@dataclass(frozen=True)
class Fitted:
    """Fitted classes; densities are tables for :func:`at`, without the factor of the normal distribution.

    Attributes
    ----------
    mean, variance : Tensor, shape (G,)
        Of the pure voxels of every class.
    density, pure : Tensor, shape (G, BINS)
        Density of every class, and the part of its pure voxels.
    shared : dict of tuple of int to tuple of Tensor, shape (BINS,)
        Part of the voxels at a border of two classes, in the first and in the second of them.
    shares : dict of tuple of int to tuple of float
        Share of such voxels in either class.
    """

    mean: Tensor
    variance: Tensor
    density: Tensor
    pure: Tensor
    shared: dict[tuple[int, int], tuple[Tensor, Tensor]]
    shares: dict[tuple[int, int], tuple[float, float]]


class Classes:
    """Intensity classes of a label table's structures.

    Parameters
    ----------
    structures : tuple of int
        FreeSurfer id (without side) of every row of a prior.

    Raises
    ------
    KeyError
        If a structure has no group.
    """

    def __init__(self, structures: tuple[int, ...]) -> None:
        self.structures = structures
        self.names = sorted({GROUPS[s] for s in structures})
        self.group = torch.tensor([self.names.index(GROUPS[s]) for s in structures])
        places = {name: k for k, name in enumerate(self.names)}
        self.borders = [(places[a], places[b]) for a, b in BORDERS if a in places and b in places]
        self.tied = [(places[a], places[b]) for a, b in TIED if a in places and b in places]
        self.same = [places[name] for name in SAME if name in places]
        self.largest = {places[n]: most for n, most in LARGEST_VARIANCE.items() if n in places}
        self.white, self.gray = places["wm"], places["gm"]
        self.noise = 0.0

    def begin(self, intensities: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of every class where the prior is certain.

        Parameters
        ----------
        intensities : Tensor, shape (N,)
            Normalized intensities.
        prior : Tensor, shape (C, N)
            Probabilities of the structures.
        """
        weight = self._by_class(torch.where(prior > CERTAIN, prior, prior * 0.01))
        size = weight.sum(1) + 1e-3
        mean = _means(weight, intensities, size)
        variance = (weight * (intensities - mean[:, None]) ** 2).sum(1) / size + 4e-4
        self.noise = float(variance[self.white])
        return self._joined(mean, size), self._held(variance, size)

    def separation(self, moments: tuple[Tensor, Tensor]) -> float:
        """Return the distance of gray and white matter in pooled standard deviations."""
        mean, variance = moments
        pooled = ((variance[self.gray] + variance[self.white]) / 2).sqrt()
        return float((mean[self.gray] - mean[self.white]).abs() / pooled)

    def maximize(self, intensities: Tensor, log_prior: Tensor, start: tuple[Tensor, Tensor]) -> Fitted:
        """Fit the classes by expectation-maximization.

        Parameters
        ----------
        intensities : Tensor, shape (N,)
            Normalized intensities of a sample of voxels.
        log_prior : Tensor, shape (C, N)
            Logarithm of the structures' probabilities.
        start : tuple of Tensor
            Result of :meth:`begin`.

        Returns
        -------
        Fitted
            Moments and densities.
        """
        mean, variance = start
        shares = dict.fromkeys(self.borders, (MOST / 2, MOST / 2))
        for _ in range(ITERATIONS):
            density, pure, shared = self._densities(mean, variance, shares)
            fitted = (log_prior + at(density, intensities).log()[self.group]).softmax(0)
            weight = self._by_class(fitted)
            size = weight.sum(1).clamp(min=1)
            shares = {
                (a, b): (
                    min(MOST, sums.total(weight[a] * at(first / density[a], intensities)) / float(size[a])),
                    min(MOST, sums.total(weight[b] * at(second / density[b], intensities)) / float(size[b])),
                )
                for (a, b), (first, second) in shared.items()
            }
            weight = weight * at(pure / density, intensities)
            size = weight.sum(1) + 1e-3
            held, own = ANCHOR * size, _means(weight, intensities, size)
            mean = self._joined((size * own + held * start[0]) / (size + held), size)
            spread = (weight * (intensities - mean[:, None]) ** 2).sum(1)
            spread = spread + held * (start[1] + (mean - start[0]) ** 2)
            variance = self._held(spread / (size + held) + 4e-4, size)
        density, pure, shared = self._densities(mean, variance, shares)
        return Fitted(mean, variance, density, pure, shared, shares)

    def _by_class(self, values: Tensor) -> Tensor:
        """Return the sums over the structures of every class."""
        return values.new_zeros(len(self.names), values.shape[1]).index_add_(0, self.group, values)

    def _joined(self, mean: Tensor, size: Tensor) -> Tensor:
        """Return the means, with one for fluid inside and outside the brain."""
        if self.same:
            mean[self.same] = (mean[self.same] * size[self.same]).sum() / size[self.same].sum()
        return mean

    def _held(self, variance: Tensor, size: Tensor) -> Tensor:
        """Return the variances, tied and limited."""
        for both in (*map(list, self.tied), *([self.same] if self.same else [])):
            variance[both] = (variance[both] * size[both]).sum() / size[both].sum()
        for k, most in self.largest.items():
            variance[k] = variance[k].clamp(max=most * self.noise)
        return variance

    def _densities(
        self, mean: Tensor, variance: Tensor, shares: dict[tuple[int, int], tuple[float, float]]
    ) -> tuple[Tensor, Tensor, dict[tuple[int, int], tuple[Tensor, Tensor]]]:
        """Return the densities of classes, of their pure voxels, and of both sides of the borders."""
        pure = _gaussian(mean, variance)
        for k in range(len(self.names)):
            pure[k] *= max(0.1, 1 - sum(s[pair.index(k)] for pair, s in shares.items() if k in pair))
        density, shared = pure.clone(), {}
        for (a, b), (of_a, of_b) in shares.items():
            first, second = border(mean, variance, a, b)
            shared[a, b] = of_a * first, of_b * second
            density[a] += shared[a, b][0]
            density[b] += shared[a, b][1]
        return density.clamp(min=1e-12), pure, shared


def _means(weight: Tensor, intensities: Tensor, size: Tensor) -> Tensor:
    """Return the mean intensity of every class; that of a class with almost no voxel is the mean of all."""
    everywhere = sums.total(intensities) / max(1, intensities.numel())
    return (sums.product(weight, intensities) + 1e-3 * everywhere) / size


def _gaussian(mean: Tensor, variance: Tensor) -> Tensor:
    """Return normal densities (without the constant factor) at the intensities of the table."""
    y = torch.linspace(LOW, HIGH, BINS)
    return torch.exp(-0.5 * (y - mean[:, None]) ** 2 / variance[:, None]) / variance[:, None].sqrt()


def border(mean: Tensor, variance: Tensor, a: int, b: int) -> tuple[Tensor, Tensor]:
    """Return the densities of the voxels that two classes share, in the first and in the second class.

    Parameters
    ----------
    mean, variance : Tensor, shape (G,)
        Of every class.
    a, b : int
        The two classes.

    Returns
    -------
    tuple of Tensor, shape (BINS,)
        Tables for :func:`at`: the sum is the density of shares that are uniform between none and all.
    """
    part = (torch.arange(SHARES) + 0.5) / SHARES
    rest = 1 - part
    mixed = _gaussian(part * mean[a] + rest * mean[b], part * variance[a] + rest * variance[b])
    return 2 * (part[:, None] * mixed).mean(0), 2 * (rest[:, None] * mixed).mean(0)


def at(table: Tensor, intensities: Tensor) -> Tensor:
    """Return values of a table at intensities, interpolated linearly.

    Parameters
    ----------
    table : Tensor, shape (..., BINS)
        Values at intensities from ``LOW`` to ``HIGH``.
    intensities : Tensor, shape (N,)
        Normalized intensities.

    Returns
    -------
    Tensor, shape (..., N)
        Values.
    """
    position = ((intensities - LOW) * ((BINS - 1) / (HIGH - LOW))).clamp(0, BINS - 1 - 1e-3)
    first = position.long()
    return torch.lerp(table[..., first], table[..., first + 1], position - first)


def exponent(separation: float) -> float:
    """Return the exponent of the prior at the borders of gray and white matter.

    Parameters
    ----------
    separation : float
        Distance of gray and white matter in deviations.

    Returns
    -------
    float
        1 without contrast, :data:`EXPONENT` with a strong contrast.

    Examples
    --------
    >>> exponent(0.5), exponent(4.0)
    (1.0, 0.2)
    """
    strength = min(1.0, max(0.0, (separation - WEAK) / (STRONG - WEAK)))
    return round(1 - (1 - EXPONENT) * strength, 6)


def softened(prior: Tensor, structures: tuple[int, ...], power: float) -> Tensor:
    """Multiply the log odds of gray and white matter; the sum of both is kept.

    Parameters
    ----------
    prior : Tensor, shape (C, N)
        Probabilities; changed in place.
    structures : tuple of int
        FreeSurfer ids of the rows.
    power : float
        Factor of the log odds in the cerebrum.

    Returns
    -------
    Tensor, shape (C, N)
        The changed probabilities.
    """
    for white, gray, share in PAIRS:
        if white not in structures or gray not in structures:
            continue
        a, b = structures.index(white), structures.index(gray)
        both = prior[a] + prior[b]
        odds = (prior[a] / both.clamp(min=1e-9)).clamp(1e-6, 1 - 1e-6).logit()
        prior[a] = both * (odds * (1 - share * (1 - power))).sigmoid()
        prior[b] = both - prior[a]
    return prior
