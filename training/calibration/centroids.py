"""Structures of a template and their centroids, from its segmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...models.population.labels import DSEG_NAMES
from ...models.registration import linear, reference
from ...models.registration.result import Anatomy
from ...models.segmentation import deformable_atlas, segmentation
from ...models.templates import bundled, catalog
from .template_image import STEPS


def write_centroids(folder: Path, name: str = bundled.DEFAULT, device: str = "cpu") -> Path:
    """Segment a template and write the centroids and labels of its structures.

    A template with a stored image (:mod:`brainseg.training.calibration.template_image`) gets its tissue
    probabilities too, and the affine to the template of quality control.

    Parameters
    ----------
    folder : Path
        Folder of the files ``<name>.json`` (centroids) and ``<name>.npz`` (labels).
    name : str
        Name of the template.
    device : str
        Device of the networks.

    Returns
    -------
    Path
        File of the centroids.
    """
    template = bundled.load(name)
    result = segmentation.segment(template.image, template.mask, device=device)
    found = reference.anatomy(template.image, template.mask, result.structures, result.probabilities)
    stored = catalog.card(name)
    record = {"name": name, "space": "RAS mm"} | {k: v for k, v in stored.items() if k in ("about", "grid")}
    if "grid" in stored:
        record["affine_to"] = {catalog.SYMMETRIC: _affine(found, catalog.SYMMETRIC)}
        np.savez_compressed(folder / f"{name}.npz", **_arrays(template, found))
    else:
        reference.write(folder / f"{name}.npz", found, probabilities=False)
    record |= {
        "computed_with": deformable_atlas.computed_with(("head-coarse", "segmentation")),
        "centroids": {str(k): [round(c, 2) for c in v] for k, v in sorted(result.centroids.items())},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def _affine(found: Anatomy, other: str) -> list[list[float]]:
    """Return the affine (mm to mm) to another template by the maps of both templates' structures."""
    matrix = linear.affine(found, reference.load(other)).matrix
    return [[round(float(value), 5) for value in row] for row in matrix]


def _arrays(template: bundled.Template, found: Anatomy) -> dict[str, Any]:
    """Return what is stored of a template: image, structures and tissues, in few levels."""
    levels = (template.image.data.numpy() * 255).round().astype(np.uint8)
    out: dict[str, Any] = {"image": levels, "structures": found.structures.data.numpy().astype(np.uint8)}
    for name in DSEG_NAMES[:2]:  # CSF is the rest of the brain
        share = (found.probabilities[name].data.numpy() * STEPS).round() / STEPS
        out[name] = (share * 255).round().astype(np.uint8)
    return out
