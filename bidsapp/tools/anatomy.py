"""The structures of a scan, as registration needs them."""

from __future__ import annotations

import sys
from pathlib import Path

from ...models.errors import InputError
from ...models.pipeline import process
from ...models.pipeline.process import Processed
from ...models.population import populations
from ...models.population.populations import Population
from ...models.registration.result import Anatomy
from .scans import read_noted


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
    return processed(path, device, record).anatomy


def processed(path: Path, device: str = "cpu", record: Population | None = None) -> Processed:
    """Return a scan with brain mask, correction and segmentation; see :func:`read`."""
    record = record or populations.load("adult")
    print(f"structures of {path.name}", file=sys.stderr)
    try:
        done = process.process(read_noted(path), record, label_table=record.labels, device=device)
    except InputError as error:
        raise InputError(error.path or path, error.reason, error.remedy) from None
    for note in done.notes:
        print(f"note: {path.name}: {note}", file=sys.stderr)
    return done
