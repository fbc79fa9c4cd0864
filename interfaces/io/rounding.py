"""Values of derivatives, rounded as they are stored."""

from __future__ import annotations

import numpy as np

from ...models.geometry.axes import occupied

FEW_LEVELS = 500
"""Range of intensities below which integers are too coarse."""

PROBABILITY_STEPS = 4096
"""Steps between probabilities 0 and 1; finer values are noise, which does not compress."""


def as_stored(data: np.ndarray, on_disk: np.dtype) -> np.ndarray:
    """Return the bias-corrected scan in a data type that suits its source.

    Integers if the source has integers and a wide range; sixteenths for a narrow range, which are as accurate
    and compress well.

    Parameters
    ----------
    data : ndarray
        Intensities.
    on_disk : dtype
        Data type of the source.

    Returns
    -------
    ndarray
        Rounded intensities, int16 or float32.

    Examples
    --------
    >>> as_stored(np.array([0.4, 1200.0]), np.dtype("uint16"))
    array([   0, 1200], dtype=int16)
    >>> as_stored(np.array([0.4, 90.0]), np.dtype("uint8"))
    array([ 0.375, 90.   ], dtype=float32)
    """
    low, high = float(data.min()), float(data.max())
    if np.dtype(on_disk).kind in "iu" and high - low < FEW_LEVELS:
        out = np.multiply(data, 16, dtype=np.float32)
        return np.divide(np.rint(out, out=out), 16, out=out)
    if np.dtype(on_disk).kind in "iu" and low >= -32768 and high <= 32767:
        return np.rint(data).astype(np.int16)
    return data.astype(np.float32)


def as_probability(data: np.ndarray) -> np.ndarray:
    """Return probabilities rounded to ``PROBABILITY_STEPS``, float32.

    Parameters
    ----------
    data : ndarray
        Probabilities.

    Returns
    -------
    ndarray of float32
        Rounded probabilities.
    """
    out = np.zeros(data.shape, np.float32)
    box = occupied(data)
    part = out[box]
    np.multiply(data[box], PROBABILITY_STEPS, out=part)
    np.rint(part, out=part)
    np.divide(part, PROBABILITY_STEPS, out=part)
    return out
