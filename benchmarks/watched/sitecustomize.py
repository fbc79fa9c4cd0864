"""Python imports this at its start; it adds the CPU seconds inside of networks to a file, for ``stages.py``.

The folder is on ``PYTHONPATH``, and ``$BRAINSEG_NETWORK_SECONDS`` is the file: one line for each call of a
network by what is not a network, in any process.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

WATCHED = "torch.nn.modules.module"


class Watch(importlib.abc.MetaPathFinder):
    """Let the module that defines networks be loaded as usual, then measure their calls."""

    def find_spec(self, name, path, target=None):
        """Return the usual specification of the watched module with one more step; None of others."""
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def measured(module):
            load(module)
            measure(module.Module, os.environ["BRAINSEG_NETWORK_SECONDS"])

        spec.loader.exec_module = measured
        return spec


def measure(kind, file: str) -> None:
    """Append the CPU time of the outermost calls of networks to a file."""
    plain, inside = kind.__call__, []

    def call(self, *args, **options):
        if inside:
            return plain(self, *args, **options)
        inside.append(True)
        before = time.process_time()
        try:
            return plain(self, *args, **options)
        finally:
            inside.pop()
            with Path(file).open("a") as lines:
                lines.write(f"{time.process_time() - before}\n")

    kind.__call__ = call


if "BRAINSEG_NETWORK_SECONDS" in os.environ:
    sys.meta_path.insert(0, Watch())
