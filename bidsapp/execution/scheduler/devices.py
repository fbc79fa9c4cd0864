"""Devices of a run, shared among the participant-sessions."""

from __future__ import annotations

import torch

from ....models.errors import UsageError
from ....models.networks.device import instructions, precision, processor, resolve
from ...config.settings import Settings


def devices(settings: Settings) -> list[str]:
    """Return the devices of the networks, such as ``["cuda:0", "cuda:1"]``.

    Parameters
    ----------
    settings : Settings
        Settings of the run.

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
    available = torch.cuda.device_count()
    if number is None or number == 1:
        return [device]
    if number == 0 or number > available:
        reason = f"--n-gpus {number} with --device {device}: {available} are available"
        raise UsageError(None, reason, "Give that number or a smaller one")
    return [f"cuda:{index}" for index in range(number)]


def arithmetic(device: str) -> dict[str, str]:
    """Return precision, device, instructions and processor of a run on this machine, for the status files.

    Parameters
    ----------
    device : str
        Device of the networks.
    """
    return {
        "precision": str(precision(device)).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "instructions": instructions(),
        "processor": processor(),
    }
