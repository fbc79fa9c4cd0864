"""What the sidecars of the results of a participant-session say: notes, and where the brain mask is from."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from ...models.errors import InputError
from ...models.io import outputs
from ..inputs import sidecars

NOTED = tuple(f"_{outputs.sidecar(outputs.ending(name))}" for name in ("volumes", "mask", "quality_metrics"))
"""Ends of the names of sidecars with notes."""

PREPROC = f"*_{outputs.sidecar(outputs.ending('preproc', suffix='*'))}"
"""Pattern for sidecars of the bias-corrected image."""


def read(paths: Iterable[Path]) -> tuple[list[str], bool, str]:
    """Return what the sidecars of results say: notes, and where the brain mask is from.

    Parameters
    ----------
    paths : iterable of Path
        Files of a participant-session.

    Returns
    -------
    notes : list of str
        Notes of all stages.
    stripped : bool
        Whether the input was already skull-stripped.
    mask_source : str
        Network that made the brain mask, ``extent`` or ``precomputed``; empty if unknown.
    """
    found: list[str] = []
    stripped, mask_source = False, ""
    for path in paths:
        if path.suffix != ".json" or "_space-" in path.name or "_desc-" not in path.name:
            continue
        try:
            content = sidecars.read_object(path)
        except InputError:
            continue
        if path.name.endswith(NOTED):
            texts = content.get("Notes", [])
            found += [texts] if isinstance(texts, str) else [str(note) for note in texts]
        if fnmatch(path.name, PREPROC):
            stripped = bool(content.get("SkullStripped", False))
        mask_source = str(content.get("MaskSource", "")) or mask_source
    return found, stripped, mask_source
