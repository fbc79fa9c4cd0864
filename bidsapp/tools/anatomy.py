"""The structures of a scan, as registration needs them."""

from __future__ import annotations

import sys
from pathlib import Path

from ...models.errors import InputError
from ...models.io import conform
from ...models.population import populations
from ...models.population.populations import Population
from ...models.preprocessing import bias
from ...models.registration.registration import Anatomy
from ...models.segmentation import segmentation, skullstrip


def read(path: Path, device: str = "cpu", record: Population | None = None) -> Anatomy:
    """Skull-strip, correct and segment a scan.

    Parameters
    ----------
    path : Path
        The scan.
    device : str
        Device that the networks run on.
    record : Population, optional
        The population of the brain; by default adults.

    Returns
    -------
    Anatomy
        The corrected image, the brain mask and the structures.

    Raises
    ------
    InputError
        If the scan cannot be read or has no plausible brain.
    """
    record = record or populations.load("adult")
    print(f"structures of {path.name}", file=sys.stderr)
    try:
        scan = conform.read(path)
        brain = skullstrip.skullstrip(
            scan, device=device, model=record.skullstrip, coarse_model=record.coarse
        )
        corrected, _ = bias.correct(scan, brain.mask)
        found = segmentation.segment(
            corrected,
            brain.mask,
            device=device,
            model=record.segmentation,
            coarse_model=record.coarse,
            label_table=record.labels,
        )
    except InputError as error:
        raise InputError(error.path or path, error.reason, error.remedy) from None
    return Anatomy(corrected, brain.mask, found.structures, found.centroids, found.probabilities)
