"""Device and precision of the networks."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn

from ..errors import UsageError

PRECISION = "BRAINSEG_PRECISION"
"""Environment variable with the type of the networks' arithmetic."""

CPUINFO = Path("/proc/cpuinfo")

INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "avx": "AVX",
    "sse4_2": "SSE4.2",
    "sve": "SVE",
    "asimd": "NEON",
}
"""Vector instructions by the flag of Linux, the most recent first; libraries choose their code by them."""

NEWER = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f")
"""Those after AVX2."""


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


def on_device(network: nn.Module, device: str | torch.device) -> nn.Module:
    """Return a network on a device; one of three dimensions in the memory format that is the fastest.

    Kernels of two dimensions, as those of a 2D network of MONAI, do not have this format.
    """
    place = torch.device(device)
    if any(parameter.dim() == 4 for parameter in network.parameters()):
        return network.to(place)
    # The annotations of torch lack the memory format.
    return network.to(place, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def precision(device: str) -> torch.dtype:
    """Return the type of the networks' arithmetic: bfloat16 if the hardware has it, else float32.

    On CPUs without bfloat16 instructions, emulation is far slower than float32. GPUs without bfloat16 use
    float16. The environment variable ``BRAINSEG_PRECISION=float32`` forces float32.
    """
    return torch.float32 if os.environ.get(PRECISION) == "float32" else _fastest(device)


@cache
def _fastest(device: str) -> torch.dtype:
    if device.startswith("cuda"):
        there = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if there else torch.float16
    if device == "cpu":
        return torch.bfloat16 if flags() & {"avx512_bf16", "amx_bf16"} else torch.float32
    return torch.float32


@cache
def flags(path: Path = CPUINFO) -> frozenset[str]:
    """Return the instruction sets of the CPU as Linux names them; empty on other systems."""
    return frozenset(_of_cpu("flags", path).split() or _of_cpu("Features", path).split())


def instructions(path: Path = CPUINFO) -> str:
    """Return the most recent vector instructions that libraries may use on this CPU.

    The environment variable ``ONEDNN_MAX_CPU_ISA=AVX2`` keeps them from newer ones.

    Parameters
    ----------
    path : Path
        Description of the CPU by Linux.
    """
    found = flags(path)
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2" and "avx2" in found
    names = [name for flag, name in INSTRUCTIONS.items() if flag in found and not (limited and flag in NEWER)]
    return names[0] if names else platform.machine()


def processor(path: Path = CPUINFO) -> str:
    """Return the name of the CPU.

    Parameters
    ----------
    path : Path
        Description of the CPU by Linux.
    """
    return _of_cpu("model name", path) or platform.processor() or platform.machine()


def _of_cpu(name: str, path: Path) -> str:
    """Return an entry of the description of the CPU; empty without one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")
