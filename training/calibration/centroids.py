"""Centroids of the structures of a template, from its segmentation."""

from __future__ import annotations

import json
from pathlib import Path

from ...models.registration import reference
from ...models.segmentation import deformable_atlas, segmentation
from ...models.templates import bundled


def write_centroids(folder: Path, name: str = bundled.DEFAULT, device: str = "cpu") -> Path:
    """Segment a template and write the centroids and labels of its structures.

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
    labels = reference.anatomy(template.image, template.mask, result.structures, {})
    reference.write(folder / f"{name}.npz", labels)
    record = {
        "name": name,
        "space": "RAS mm",
        "computed_with": deformable_atlas.computed_with(("head-coarse", "segmentation")),
        "centroids": {str(k): [round(c, 2) for c in v] for k, v in sorted(result.centroids.items())},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
