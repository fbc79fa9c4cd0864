"""Measured time and memory of a participant: what jobs ask for, and when a run is done, follow from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("measured.json")
"""Written by ``benchmarks/estimates.py``, with machine and date."""


@dataclass(frozen=True)
class Measured:
    """Time and memory of one participant, on the cores of the measurement.

    Attributes
    ----------
    cores : int
        CPU cores.
    voxels : float
        Voxels of the image.
    start_seconds : float
        Time (s) of a run, and of each participant-session, that does not depend on the image.
    image_seconds : float
        Time (s) of all stages, in proportion to the voxels.
    more_seconds : dict of str to float
        Further time (s), also in proportion: options, each further image, each further template.
    shares : dict of str to float
        Shares of the stages in the time of a participant-session.
    base_gb : float
        Memory (GB) beside that of the largest step: the main process, and workers that wait.
    """

    cores: int
    voxels: float
    start_seconds: float
    image_seconds: float
    more_seconds: dict[str, float]
    shares: dict[str, float]
    base_gb: float


@cache
def read(path: Path = FILE) -> Measured:
    """Return the figures of a file.

    Parameters
    ----------
    path : Path
        JSON file with the parts ``measured`` and ``estimated``.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    table, rest = content["measured"], content["estimated"]
    whole = sum(table["stage_seconds"].values())
    return Measured(
        cores=table["cores"],
        voxels=float(table["voxels"]),
        start_seconds=rest["start_seconds"],
        image_seconds=table["wall_seconds"] - rest["start_seconds"],
        more_seconds=rest["more_seconds"],
        shares={name: seconds / whole for name, seconds in table["stage_seconds"].items()},
        base_gb=rest["base_gb"],
    )
