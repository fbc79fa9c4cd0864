"""The arithmetic of a participant-session, from its status file: precision, instructions and processor."""

from __future__ import annotations

from typing import Any

CPU = "cpu"
"""Device in the status file that is no GPU."""


def words(status: dict[str, Any]) -> str:
    """Return precision, device and instructions in words; empty if the status file does not have them.

    Results of two processors with different words differ in small details.

    Examples
    --------
    >>> known = {"precision": "bfloat16", "device": "NVIDIA A100", "instructions": "AVX2"}
    >>> words({"arithmetic": known})
    'bfloat16 on NVIDIA A100, AVX2'
    >>> words({"arithmetic": known | {"device": "cpu"}, "settings": {"reproducible": True}})
    'bfloat16, AVX2, reproducible'
    """
    found, settings = _found(status), status.get("settings")
    if not found.get("precision"):
        return ""
    device = found.get("device", CPU)
    out = [found["precision"] + (f" on {device}" if device != CPU else ""), found.get("instructions", "")]
    if isinstance(settings, dict) and settings.get("reproducible") is True:
        out.append("reproducible")
    return ", ".join(filter(None, out))


def processor(status: dict[str, Any]) -> str:
    """Return the name of the processor; empty if the status file does not have it."""
    return _found(status).get("processor", "")


def _found(status: dict[str, Any]) -> dict[str, str]:
    found = status.get("arithmetic")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
