"""Slots of the GPUs: one process and one CUDA context for each, which runs one node at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the GPUs of a process: numbers, or ids of GPUs or of parts of one (MIG)."""

PINNED = "cuda:0"
"""Device of a process that sees one GPU."""

HIDDEN = ""
"""Value of ``VISIBLE`` for processes without GPU."""

BY_SLURM = ("SLURM_GPUS_ON_NODE", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""Variables of Slurm: a number, or a list of GPUs."""


@dataclass(frozen=True)
class Slot:
    """One GPU, or a part of one.

    Attributes
    ----------
    device : str
        Its name among those of the run, such as ``cuda:1``.
    visible : str
        Its number or id, for ``VISIBLE``.
    """

    device: str
    visible: str


def slots(devices: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[Slot]:
    """Return the slots of the devices of a run; CPUs have none.

    Examples
    --------
    >>> slots(["cuda:0", "cuda:1"], {"CUDA_VISIBLE_DEVICES": "3,MIG-7f"})
    [Slot(device='cuda:0', visible='3'), Slot(device='cuda:1', visible='MIG-7f')]
    >>> slots(["cuda:1"], {}), slots(["cpu"], {})
    ([Slot(device='cuda:1', visible='1')], [])
    """
    known = visible(environ)
    out = []
    for device in devices:
        if device.startswith("cuda"):
            number = int(device.partition(":")[2] or 0)
            out.append(Slot(device, known[number] if known and number < len(known) else str(number)))
    return out


def visible(environ: Mapping[str, str] = os.environ) -> list[str] | None:
    """Return the GPUs that this process may use, by number or id; None if nothing limits them.

    Examples
    --------
    >>> visible({"CUDA_VISIBLE_DEVICES": "0, 2"}), visible({"CUDA_VISIBLE_DEVICES": "1,-1,0"})
    (['0', '2'], ['1'])
    >>> visible({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}), visible({})
    ([], None)
    """
    text = environ.get(VISIBLE)
    if text is None:
        return None
    out: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        if not (word.isdigit() or word.startswith(("GPU-", "MIG-"))):
            break  # CUDA ignores what follows an invalid one
        out.append(word)
    return out


def granted(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of GPUs that the scheduler granted; None if it does not say.

    Examples
    --------
    >>> granted({"CUDA_VISIBLE_DEVICES": "0,1"}), granted({"SLURM_GPUS_ON_NODE": "4"}), granted({})
    (2, 4, None)
    >>> granted({"SLURM_JOB_GPUS": "1,3"}), granted({"SLURM_GPUS_ON_NODE": "a100:2"})
    (2, 2)
    """
    known = visible(environ)
    if known is not None:
        return len(known)
    for name in BY_SLURM:
        text = environ.get(name, "").rpartition(":")[2]
        if name.endswith("NODE") and text.isdigit():
            return int(text)
        if text and not name.endswith("NODE"):
            return len(text.split(","))
    return None
