"""Device and precision of the networks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from ..errors import UsageError


def resolve(device: str = "auto") -> str:
    """Return the name of the device to use.

    Parameters
    ----------
    device : str
        ``auto`` (the first GPU, or the CPU if there is none), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    str
        ``cpu``, ``cuda:N`` or ``mps``.

    Raises
    ------
    UsageError
        If the device is unknown or unavailable.
    """
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    kind, _, number = device.partition(":")
    there = {
        "cuda": torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in there:
        raise UsageError(None, f"unknown device {device!r}", "Use auto, cpu, cuda, cuda:N or mps")
    if not there[kind]:
        raise UsageError(None, f"device {device!r} is not available", "Use --device cpu or auto")
    return f"cuda:{number or 0}" if kind == "cuda" else device


@cache
def precision(device: str) -> torch.dtype:
    """Return the type of the networks' arithmetic: bfloat16 if the hardware has it, else float32.

    On CPUs without bfloat16 instructions, emulation is far slower than float32. GPUs without bfloat16 use
    float16.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "cpu":
        try:
            flags = Path("/proc/cpuinfo").read_text()
        except OSError:
            return torch.float32
        return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32
    return torch.float32
