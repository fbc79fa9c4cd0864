"""Values along the three axes of a grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def triple(values: Iterable[T]) -> tuple[T, T, T]:
    """Return the values of the three axes, such as a shape, as a tuple.

    Parameters
    ----------
    values : iterable
        One value for each axis.

    Returns
    -------
    tuple
        The three values.

    Raises
    ------
    ValueError
        If there are not three values.

    Examples
    --------
    >>> triple(2 * n for n in [4, 5, 6])
    (8, 10, 12)
    """
    x, y, z = values
    return x, y, z
