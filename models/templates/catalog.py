"""Catalog of the bundled templates: names, cards and places of the structures, without the images.

Image and card of a template lie in ``models/data/templates``. Where one template does not suit all brains of
an age there are families of it, ``NAME-FAMILY``, each for its ages.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..data import FOLDER

DEFAULT = "MNI152NLin2009aSym"
"""Name of the bundled template of adults."""


def folder() -> Path:
    """Return the folder of the bundled templates."""
    return FOLDER / "templates"


def stems() -> list[str]:
    """Return the names of all templates by age and of their families."""
    return sorted(p.name.split(".")[0] for p in folder().iterdir() if p.name.endswith(".safetensors"))


def names() -> list[str]:
    """Names of the growing templates that the package ships."""
    return [stem for stem in stems() if "-" not in stem]


def families(name: str) -> dict[str, str]:
    """Names of the families of a growing template by their label; typical growth has the empty one."""
    own = [stem for stem in stems() if stem.partition("-")[0] == name]
    return {stem.partition("-")[2]: stem for stem in own}


def parse_cohort(name: str, cohort: str) -> tuple[str, float] | None:
    """The family of a growing template and the weeks that a cohort's label means; None if it is none.

    Examples
    --------
    >>> parse_cohort("BrainsegFetal", "28"), parse_cohort("BrainsegFetal", "24sb")
    (('BrainsegFetal', 28.0), ('BrainsegFetal-sb', 24.0))
    """
    found = re.fullmatch(r"(\d+)([a-z]*)", cohort)
    known = families(name)
    return (known[found[2]], float(found[1])) if found and found[2] in known else None


def card(name: str) -> dict[str, Any]:
    """The card of a growing template: training data, licence, ages, tissues."""
    return json.loads((folder() / f"{name}.json").read_text())


def centroids(name: str = DEFAULT) -> dict[int, tuple[float, float, float]]:
    """Return the centroid (mm) of every structure by FreeSurfer id; empty if the template has none."""
    file = folder() / f"{name}.json"
    found = json.loads(file.read_text())["centroids"] if file.is_file() else {}
    return {int(k): (point[0], point[1], point[2]) for k, point in found.items()}
