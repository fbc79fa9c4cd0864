"""Random contrasts: the intensities of classes and their subclasses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.intensity_classes import CODES, MOST, code_subclasses
from ..data.sources import Source
from .config import GeneratorConfig
from .deformation import integer, noise_field, uniform

LEVELS = 16
"""Levels of the field that splits classes in space; the subclasses of a class are ranges of levels."""

DARKEST = 35.0
"""Largest mean intensity of cortical bone where it is dark."""


@dataclass
class Contrast:
    """A random contrast as look-up tables.

    Attributes
    ----------
    means, deviations : Tensor, shape (N,)
        Mean and standard deviation by ``label position * LEVELS + level``, or by the code of
        :mod:`brainseg.training.data.intensity_classes`.
    split : Tensor or None
        Level on the atlas cube, shape (1, 1, GRID, GRID, GRID); None without subclasses.
    seeded : bool
        Whether the tables are indexed by seeds.
    """

    means: Tensor
    deviations: Tensor
    split: Tensor | None
    seeded: bool


def draw_contrast(source: Source, config: GeneratorConfig, device: torch.device, *, seeded: bool) -> Contrast:
    """Return a random contrast.

    Parameters
    ----------
    source : Source
        Classes and their known means.
    config : GeneratorConfig
        Ranges.
    device : torch.device
        Device of the tables.
    seeded : bool
        Whether subclasses come from seeds instead of a random field.
    """
    kinds, shares = zip(*config.contrasts.items(), strict=True)
    kind = kinds[int(torch.multinomial(torch.tensor(shares), 1))]
    known = None if kind == "random" else torch.from_numpy(source.means[kind])
    # No random number is drawn where the outcome is certain: other draws stay the same.
    share = config.known_outside
    if known is not None and share < 1 and not (share > 0 and uniform(0, 1) < share):
        known = known.masked_fill(torch.from_numpy(source.outside), torch.nan)
    if known is not None and uniform(0, 1) < config.invert:
        known = torch.cat([known[:1], 255 - known[1:]])
    means, deviations = _classes(known, len(source.classes), config)
    if seeded:
        return _by_seeds(source, means, deviations, known is not None, config, device)
    split = None
    levels = means[:, None].expand(-1, LEVELS)
    if uniform(0, 1) < config.split:
        points = noise_field(1, integer(6, 20), device)
        # Uniform over the levels, independent of the interpolated standard deviation.
        split = torch.special.ndtr(points / points.std()) * LEVELS
        levels = _subclasses(means, known, config)
    # No random number is drawn without the option: other draws stay the same.
    if config.dark_bone > 0 and uniform(0, 1) < config.dark_bone:
        dark = torch.from_numpy(source.dark)
        levels = torch.where(dark[:, None], uniform(0, DARKEST), levels)
        deviations = torch.where(dark, uniform(1, 8), deviations)
    position = torch.from_numpy(source.contrast)
    return Contrast(
        levels[position].reshape(-1).to(device),
        deviations[position, None].expand(-1, LEVELS).reshape(-1).to(device),
        split,
        False,
    )


def _classes(known: Tensor | None, count: int, config: GeneratorConfig) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of every class."""
    means = torch.rand(count) * 255
    if known is None:
        deviations = torch.rand(count) * (35 if uniform(0, 1) < 0.5 else 15)
    else:
        spread = config.wide_spread if uniform(0, 1) < config.wide else config.class_spread
        drawn = 125 + (known - 125) * uniform(0.8, 1.25) + torch.randn(count) * spread
        means = torch.where(known.isnan(), means * 0.9, drawn.clamp(0, 300))
        deviations = 2 + torch.rand(count) * 12
    if known is not None or uniform(0, 1) < 0.5:
        means[0], deviations[0] = 0.0, uniform(0, 5)
    return means, deviations


def _subclasses(means: Tensor, known: Tensor | None, config: GeneratorConfig) -> Tensor:
    """Return the mean of every class at every level; each class splits the levels at its own points."""
    count = len(means)
    parts = torch.randint(1, config.subclasses + 1, (count,))
    cuts = torch.rand(count, config.subclasses - 1) * LEVELS
    cuts = torch.where(torch.arange(1, config.subclasses)[None] < parts[:, None], cuts, LEVELS + 1.0)
    which = (torch.arange(LEVELS)[None, :, None] + 0.5 > cuts[:, None]).sum(2)
    near = means[:, None] + torch.randn(count, config.subclasses) * uniform(0, config.split_spread)
    anything = torch.rand(count, config.subclasses) * 255
    anything[:, 0] = means
    # Classes without a known mean (outside the brain), and some random contrasts, vary without limits.
    free = torch.ones(count, dtype=torch.bool) if known is None else known.isnan()
    if known is None and uniform(0, 1) < 0.6:
        free[:] = False
    free[0] = known is None and uniform(0, 1) < 0.3
    near[0] = means[0]
    drawn = torch.where(free[:, None], anything, near.clamp(0, 300))
    return drawn.gather(1, which)


def _by_seeds(
    source: Source, means: Tensor, deviations: Tensor, known: bool, config: GeneratorConfig, device
) -> Contrast:
    """Return tables by the code of seeds: a number of subclasses per meta-label, a mean per subclass."""
    table_mean, table_deviation = torch.zeros(CODES), torch.zeros(CODES)
    for meta in sorted({int(m) for m in source.meta} - {0}):
        of_meta = torch.from_numpy(source.contrast[source.meta == meta]).unique()
        count = integer(1, MOST + 1)
        own = torch.rand(count) * 255
        if known:
            own = means[of_meta].mean() + torch.randn(count) * config.wide_spread
        codes, which = code_subclasses(meta, count)
        table_mean[codes] = own.clamp(0, 300)[which]
        table_deviation[codes] = deviations[of_meta].mean() * torch.rand(count)[which]
    table_mean[0], table_deviation[0] = means[0], deviations[0]
    return Contrast(table_mean.to(device), table_deviation.to(device), None, True)
