"""Devices of a run, shared among the participant-sessions."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ....models.errors import UsageError
from ....models.networks.device import instructions, precision, processor, resolve
from ...config.settings import Settings
from . import slots


def devices(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the devices of the networks, such as ``["cuda:0", "cuda:1"]``.

    Without ``--n-gpus`` these are all that the scheduler granted, or one.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    environ : mapping of str to str
        Environment variables.

    Raises
    ------
    UsageError
        If fewer devices are available than the settings request.
    """
    number = settings.n_gpus
    if settings.device == "cpu" and not number:
        return ["cpu"]
    device = resolve("cpu" if number == 0 and settings.device == "auto" else settings.device)
    if not device.startswith("cuda"):
        if number:
            raise UsageError(
                None, f"--n-gpus {number}, but networks run on the {device}", "Give --device cuda"
            )
        return [device]
    available = _available(environ)
    one_process = settings.plugin == "linear" or settings.nipype_plugin_file is not None
    if number is None:
        several = settings.device in ("auto", "cuda") and not one_process
        number = min(slots.granted(environ) or 1, available) if several else 1
    if number == 0 or number > available:
        reason = f"--n-gpus {number} with --device {device}: {available} are available"
        raise UsageError(None, reason, "Give that number or a smaller one")
    return [device] if number == 1 or one_process else [f"cuda:{index}" for index in range(number)]


def _available(environ: Mapping[str, str]) -> int:
    """Return the number of GPUs; a process sees one part of a GPU (MIG) even if it may use several."""
    known = slots.visible(environ) or []
    parts = sum(word.startswith("MIG-") for word in known)
    return len(known) if parts else torch.cuda.device_count()


def arithmetic(device: str) -> dict[str, str]:
    """Return precision, device, instructions and processor of a run on this machine, for the status files.

    Parameters
    ----------
    device : str
        Device of the networks.
    """
    return {
        "precision": str(precision(_seen(device))).removeprefix("torch."),
        "device": _name(device) if device.startswith("cuda") else device,
        "instructions": instructions(),
        "processor": processor(),
    }


def _name(device: str) -> str:
    """Return the name of a GPU."""
    return torch.cuda.get_device_name(_seen(device))


def _seen(device: str) -> str:
    """Return a GPU that this process sees in place of one that only a worker sees (MIG)."""
    number = int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
    return slots.PINNED if number and number >= torch.cuda.device_count() else device
