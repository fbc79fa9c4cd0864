"""Reuse of freed memory, instead of its return to the system.

glibc maps memory anew for every large array, and the kernel clears every page. In loops over arrays of tens
of megabytes, this can take as long as the computation.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt``."""

KEEP = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26))
USUAL = ((MMAP_MAX, 65536), (TRIM_THRESHOLD, 2**17), (TOP_PAD, 2**17))

_inside = False
_roomy = False


@cache
def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None


def leave(roomy: bool) -> None:
    """Leave it to glibc when it returns unused memory, or return it at once.

    Parameters
    ----------
    roomy : bool
        Whether to leave it to glibc: there must be room for the largest need of every process at once.
    """
    global _roomy
    _roomy = roomy


def trim() -> None:
    """Return unused memory to the system; nothing happens without glibc, or where it is left to it."""
    libc = _libc()
    if libc is not None and not _roomy:
        libc.malloc_trim(0)


@contextmanager
def kept() -> Iterator[None]:
    """Keep freed memory for reuse inside the block, and return unused memory to the system at its end.

    The block has no effect inside another one, or without glibc.
    """
    global _inside
    libc = _libc()
    if libc is None or _inside:
        yield
        return
    _inside = True
    for name, value in KEEP:
        libc.mallopt(name, value)
    try:
        yield
    finally:
        _inside = False
        for name, value in USUAL:
            libc.mallopt(name, value)
        trim()
