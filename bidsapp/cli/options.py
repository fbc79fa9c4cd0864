"""Where the single-file commands compute: two options and what they mean."""

from __future__ import annotations

import argparse
import os

from ...models.errors import UsageError
from ..config import resources
from ..config.settings import MAX_THREADS
from .bids import Parser, device_name


def add_compute(parser: Parser) -> None:
    """Add ``--device`` and ``--threads``."""
    parser.add_argument(
        "--device",
        type=device_name,
        default="auto",
        metavar="{auto,cpu,cuda[:N],mps}",
        help="where to compute (auto)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPUs to use (default: at most 8)")


def device(given: argparse.Namespace) -> str:
    """Name of the device."""
    from ...models.networks.device import resolve

    return resolve(given.device)


def threads(given: argparse.Namespace) -> None:
    """Let torch and ITK use as many threads as wanted."""
    import torch

    count = given.threads or min(resources.cpus(), MAX_THREADS)
    if count < 1:
        raise UsageError(None, f"--threads {count} is too few", "Give a positive number")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    torch.set_num_threads(count)
