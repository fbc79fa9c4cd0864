"""Catalog of the bundled templates: names, cards and centroids of the structures, without the images.

Image and card of a template are in ``models/data/templates``. A template by age may have families for other
brains of the same age, ``NAME-FAMILY``, each with its range of ages.
"""

from __future__ import annotations

import json
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..data import FOLDER

DEFAULT = "MNI152NLin2009cAsym"
"""Name of the bundled template of adults (ICBM 2009c, asymmetric), on TemplateFlow's grid of 1 mm."""

SYMMETRIC = "MNI152NLin2009aSym"
"""Name of the other bundled template of adults (ICBM 2009a, symmetric), in which quality is measured."""

ADULT = (DEFAULT, SYMMETRIC)


def folder() -> Path:
    """Return the folder of the bundled templates."""
    return FOLDER / "templates"


def stems() -> list[str]:
    """Return the names of all templates by age and of their families."""
    return sorted(p.name.split(".")[0] for p in folder().iterdir() if p.name.endswith(".safetensors"))


def names() -> list[str]:
    """Return the names of the bundled templates by age, without families."""
    return [stem for stem in stems() if "-" not in stem]


def families(name: str) -> dict[str, str]:
    """Return the families of a template by age, label to name; typical growth has the empty label."""
    own = [stem for stem in stems() if stem.partition("-")[0] == name]
    return {stem.partition("-")[2]: stem for stem in own}


def parse_cohort(name: str, cohort: str) -> tuple[str, float] | None:
    """Return family and age (weeks) of the cohort of a template by age; None if the label is invalid.

    Examples
    --------
    >>> parse_cohort("BrainsegFetal", "28"), parse_cohort("BrainsegFetal", "24sb")
    (('BrainsegFetal', 28.0), ('BrainsegFetal-sb', 24.0))
    """
    found = re.fullmatch(r"(\d+)([a-z]*)", cohort)
    known = families(name)
    return (known[found[2]], float(found[1])) if found and found[2] in known else None


def card(name: str) -> dict[str, Any]:
    """Read the card of a bundled template: license, source, ages or centroids."""
    return json.loads((folder() / f"{name}.json").read_text())


def centroids(name: str = DEFAULT) -> dict[int, tuple[float, float, float]]:
    """Return the centroid (mm) of every structure by FreeSurfer id; empty if the template has none."""
    found = card(name).get("centroids", {}) if (folder() / f"{name}.json").is_file() else {}
    return {int(k): (point[0], point[1], point[2]) for k, point in found.items()}


def of_templateflow() -> list[str]:
    """Return the names of TemplateFlow's templates; empty if its list is not on this machine.

    The list comes with its client, which takes seconds to import and is not needed here.
    """
    spec = find_spec("templateflow")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    skeletons = [p for f in folders if (p := f / "conf" / "templateflow-skel.zip").is_file()]
    found: set[str] = set()
    for path in skeletons:
        try:
            with zipfile.ZipFile(path) as archive:
                found |= {m[1] for name in archive.namelist() if (m := re.match(r"tpl-([^/]+)/", name))}
        except (OSError, zipfile.BadZipFile):
            continue
    return sorted(found)
