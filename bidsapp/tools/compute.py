"""Device and number of threads of the single-file commands."""

from __future__ import annotations

import argparse
import os

import torch

from ...models.errors import UsageError
from ...models.networks.device import resolve
from ..config import resources
from ..config.settings import MAX_THREADS


def device(args: argparse.Namespace) -> str:
    """Return the device that ``--device`` means on this machine."""
    return resolve(args.device)


def set_threads(args: argparse.Namespace) -> None:
    """Limit torch and ITK to the number of threads of ``--threads``.

    Raises
    ------
    UsageError
        If the number is not positive.
    """
    count = min(resources.cpus(), MAX_THREADS) if args.threads is None else args.threads
    if count < 1:
        raise UsageError(None, f"--threads {count} is too few", "Give a positive number")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    torch.set_num_threads(count)
