"""Segmentation into structures and tissues by the population's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from ..geometry.volume import Volume
from ..networks import zoo
from ..networks.malloc import kept
from ..population import populations
from ..population.populations import Population
from . import atlas_frame, coarse_to_fine
from .result import SegmentationResult

METHODS: dict[str, Callable[..., SegmentationResult]] = {
    "coarse-to-fine": coarse_to_fine.segment,
    "atlas-frame": atlas_frame.segment,
}
"""Functions by the ``method`` of ``[methods.segmentation]`` in a population's record."""


def segment(
    volume: Volume,
    mask: Volume,
    population: str | Population = "adult",
    *,
    effort: str = "fast",
    label_table: str | None = None,
    likelihood: bool = True,
    region: Volume | None = None,
    device: str = "cpu",
) -> SegmentationResult:
    """Segment a brain.

    Parameters
    ----------
    volume : Volume
        Bias-corrected scan of any contrast.
    mask : Volume
        Brain mask, on the same grid.
    population : str or Population
        Name or record of the population.
    effort : {'fast', 'accurate'}
        ``accurate`` averages the posteriors of the image and its mirror image.
    label_table : str, optional
        A coarser label table than the network's; its structures are sums of the network's.
    likelihood : bool
        Whether to fit the scan's intensities.
    region : Volume, optional
        The mask and fluid around it, where skull-stripping gives it.
    device : str
        Device of the networks.

    Returns
    -------
    SegmentationResult
        Structures, tissues and measures.

    Raises
    ------
    InputError
        If the mask is empty or does not contain a brain.
    UsageError
        If the population's method lacks an option.
    """
    if not bool((mask.data > 0).any()):
        raise InputError(None, "the brain mask is empty", "Check the mask")
    record = populations.resolve(population)
    options: dict[str, Any] = {}
    if effort != "fast":
        options["effort"] = effort
    if label_table and label_table != zoo.read_card(record.segmentation)["label_table"]:
        options["label_table"] = label_table
    populations.check_options(record, options)
    if region is not None:
        options["region"] = region
    with kept():
        return METHODS[record.methods["segmentation"].method](
            volume, mask, record, likelihood=likelihood, device=device, **options
        )
