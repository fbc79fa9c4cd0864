"""Colors of figures and legends: tissues and structures from the label tables, and those of lines."""

from __future__ import annotations

from ...models.population import labels
from ...models.population.labels import Label

MASK = "#ffb000"
"""Outlines of the brain mask and of the image."""

TEMPLATE, GRID = "#56c8ff", "#78e678"
"""Outline of the template, and grid of the deformation."""

INTRACRANIAL = "#4aa8ff"
"""Outline of the cranial cavity."""

LESION = "#ff781e"


def tissues() -> list[Label]:
    """Return gray matter, white matter and CSF in the order of their values in a ``dseg``.

    Examples
    --------
    >>> [(tissue.index, tissue.abbreviation) for tissue in tissues()]
    [(1, 'GM'), (2, 'WM'), (3, 'CSF')]
    """
    return [label for label in labels.load("dseg") if label.index]
