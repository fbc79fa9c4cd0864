"""Settings that follow from ``--reproducible``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...models.errors import UsageError

THREADS = 1
"""Threads of one step: sums of several threads depend on their number."""


def restrict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the device and the threads of ``--reproducible``.

    Parameters
    ----------
    values : mapping
        Settings by name, as far as they are given.

    Raises
    ------
    UsageError
        If other settings contradict.
    """
    device = values.get("device", "auto")
    if device not in ("auto", "cpu") or values.get("n_gpus"):
        reason = "--reproducible computes on the CPU, since GPUs of different kinds give different results"
        raise UsageError(None, reason, "Leave out --device and --n-gpus, or --reproducible")
    if values.get("debug") or values.get("plugin") == "linear":
        reason = "--reproducible needs worker processes, which --plugin linear (--debug) does not have"
        raise UsageError(None, reason, "Leave out one of them")
    return {**values, "device": "cpu", "omp_nthreads": values.get("omp_nthreads", THREADS)}
