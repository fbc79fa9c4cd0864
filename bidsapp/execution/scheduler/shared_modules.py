"""Modules that all workers share: the process from which they are forked imports this one."""

from __future__ import annotations

from importlib import import_module

from ...config.imports import quick_imports

NAMES = ("brainseg.workflows.participant", "brainseg.bidsapp.execution.nodes")
"""Modules by name; imported here they would need the scheduler, which starts that process."""

with quick_imports():
    for name in NAMES:
        import_module(name)
