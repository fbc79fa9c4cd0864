"""Where a network runs, and in which precision."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from ..errors import UsageError


def resolve(device: str = "auto") -> str:
    """Name of the device to use: the first GPU if there is one, else the CPU.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    UsageError
        If the device that was asked for is not there.
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
        raise UsageError(None, f"the device {device!r} is not there", "Use --device cpu or auto")
    return f"cuda:{number or 0}" if kind == "cuda" else device


@cache
def precision(device: str) -> torch.dtype:
    """Type of the networks' arithmetic: bfloat16 where the hardware has it, else float32.

    On CPUs without bfloat16 instructions emulation is far slower than float32.
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
