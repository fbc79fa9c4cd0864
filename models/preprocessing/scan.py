"""Reading of a scan for all commands and stages: checked, dark in the background, without an offset."""

from __future__ import annotations

from pathlib import Path

import torch

from ..geometry.volume import Volume
from ..io import conform
from . import mp2rage

BELOW, ABOVE = 0.02, 0.15
"""Darkest values, relative to the brightest: so far below or above zero they are an offset of all values."""

FEW, MANY = 0.002, 0.999
"""Percentiles of the darkest and the brightest values; beyond them are noise and ringing."""

CONSTANT = 0.1
"""Share of voxels with the value of the corners above which that value is a background."""


def read(path: str | Path, *, notes: list[str], least_mm: float = conform.LEAST_MM) -> Volume:
    """Read a scan, with a dark background if it is an MP2RAGE UNI image, and without an offset of its values.

    Parameters
    ----------
    path : path-like
        The scan.
    notes : list of str
        Notes for the user; what was guessed or replaced is appended.
    least_mm : float
        Smallest field of view (mm) that is no error.

    Returns
    -------
    Volume
        float32 values on the file's own grid.

    Raises
    ------
    InputError
        If it cannot be used (:func:`brainseg.models.io.conform.read`).
    """
    return without_offset(mp2rage.prepared(conform.read(path, least_mm, notes), path, notes), notes)


def without_offset(volume: Volume, notes: list[str]) -> Volume:
    """Return a scan whose darkest values are zero, as in scanners; most scans are returned as they are.

    The field of the coils multiplies the signal, and what lies outside a field of view is zero: both ask for
    values without an offset. A constant background that is brighter than the darkest values, as in images
    whose brain has a mean of zero, becomes dark.

    Parameters
    ----------
    volume : Volume
        The scan.
    notes : list of str
        A note is appended if values change.

    Examples
    --------
    >>> import numpy as np
    >>> notes = []
    >>> scan = Volume(torch.linspace(-1000, 2000, 8000).view(20, 20, 20), np.eye(4))
    >>> round(float(without_offset(scan, notes).data.max())), notes
    (2994, ['The darkest values are about -994, not 0: 994 was added to all.'])
    """
    data = volume.data
    flat = data.flatten()[:: max(1, data.numel() // 200_000)]
    low, high = torch.quantile(flat, torch.tensor([FEW, MANY])).tolist()
    if -BELOW * abs(high) <= low <= ABOVE * high:
        return volume
    corners = data[:: data.shape[0] - 1, :: data.shape[1] - 1, :: data.shape[2] - 1].flatten()
    beyond = float(corners.median())
    constant = data == beyond
    words = f"The darkest values are about {low:.4g}, not 0: {abs(low):.4g} was "
    words += "added to all" if low < 0 else "subtracted from all"
    if float(constant.float().mean()) > CONSTANT and beyond > low:
        notes.append(f"{words}, and the background ({beyond:.4g}) was set to 0.")
        return volume.with_data(torch.where(constant, 0.0, (data - low).clamp(min=0)))
    if low > 0 and beyond > low + BELOW * (high - low) * 5:
        return volume  # there is no background in the field of view
    notes.append(f"{words}.")
    return volume.with_data((data - low).clamp(min=0))
