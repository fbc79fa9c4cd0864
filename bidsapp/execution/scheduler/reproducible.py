"""Environment of the workers with ``--reproducible``: the same code on different processors."""

from __future__ import annotations

import numpy as np

from ....models.networks.device import PRECISION

VARIABLES = {
    PRECISION: "float32",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
}
"""Environment variables by which libraries choose the same code on all x86-64 processors with AVX2."""

NEWER = ("AVX512", "X86_V4")
"""Beginnings of numpy's names of instructions after AVX2."""


def variables() -> dict[str, str]:
    """Return the environment variables for worker processes, which import the libraries with them."""
    found = np._core._multiarray_umath  # type: ignore[attr-defined]
    newer = [name for name in found.__cpu_dispatch__ if name.startswith(NEWER)]
    # numpy warns of names that the processor does not have.
    off = [name for name in newer if found.__cpu_features__.get(name)]
    return VARIABLES | ({"NPY_DISABLE_CPU_FEATURES": " ".join(off)} if off else {})
