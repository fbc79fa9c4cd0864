"""Imports of large libraries."""

from __future__ import annotations

import gc
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector.

    It would look through hundreds of thousands of objects of the libraries again and again, during the
    imports and in every later collection (Nipype asks for one at each step of a run), and find nothing: they
    all stay.
    """
    was_on, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_on:
            gc.enable()


def resolve(name: str) -> Any:
    """Import what large libraries are needed for, at the moment when it is needed.

    Parameters
    ----------
    name : str
        A function, as ``package.module:function``, or a module.

    Examples
    --------
    >>> resolve("os.path:basename")("/data/sub-01")
    'sub-01'
    """
    with quick_imports():
        return pkgutil.resolve_name(name)
