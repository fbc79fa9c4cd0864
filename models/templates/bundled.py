"""Bundled templates: image, brain mask and centroids of the structures.

The default is ICBM152 2009c asymmetric (Fonov et al. 2009) on TemplateFlow's grid of 1 mm, in
``models/data/templates/<name>.npz``; ICBM152 2009a symmetric (Fonov et al. 2011) is that in nilearn's wheel,
under its TemplateFlow name. The structures and their centroids come from the program's segmentation
(``brainseg train template``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..errors import MissingFileError, UsageError
from ..geometry.volume import Grid, Volume
from ..io import images
from ..population.labels import DSEG, LabelTable
from ..population.labels import load as load_table
from . import age_template, catalog
from .catalog import DEFAULT, SYMMETRIC

BRAIN = 0.2
"""Intensity threshold of the brain in the stripped symmetric template, as in nilearn."""


@dataclass(frozen=True)
class Template:
    """A template.

    Attributes
    ----------
    name : str
        Its TemplateFlow name.
    image : Volume, float32
        Skull-stripped T1w.
    mask : Volume, uint8
        Brain.
    centroids : dict of int to tuple
        Center (mm) of every structure by FreeSurfer id; empty until computed.
    """

    name: str
    image: Volume
    mask: Volume
    centroids: dict[int, tuple[float, float, float]]


@cache
def load(name: str = DEFAULT) -> Template:
    """Load the template ``name``.

    Raises
    ------
    UsageError
        If it is not bundled.
    MissingFileError
        If nilearn is not installed.
    """
    if name.partition("+")[0] in catalog.names():
        return _by_age(name)
    if name == SYMMETRIC:
        image = _symmetric_map("t1")
        brain = (image.data > BRAIN).to(torch.uint8)
    elif name == DEFAULT:
        image = _stored(name, "image")
        brain = (image.data > 0).to(torch.uint8)
    else:
        raise UsageError(None, f"the template {name!r} is not bundled", f"Use {' or '.join(catalog.ADULT)}")
    return Template(name, image, image.with_data(brain), catalog.centroids(name))


def _stored(name: str, kind: str) -> Volume:
    """Return ``image``, ``GM`` or ``WM`` of a template that is stored with the program, 0 to 1."""
    with np.load(catalog.folder() / f"{name}.npz") as arrays:
        data = torch.from_numpy(arrays[kind]).float() / 255
    return Volume(data, np.array(catalog.card(name)["grid"], float))


def _symmetric_map(kind: str) -> Volume:
    """Return ``t1``, ``gm`` or ``wm`` of the symmetric template, scaled to a maximum of 1.

    The file is read without an import of nilearn, which takes two seconds.

    Raises
    ------
    MissingFileError
        If nilearn is not installed or lacks the file.
    """
    spec = find_spec("nilearn")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = next((p for f in folders if (p := f / "datasets" / "data" / name).is_file()), None)
    if path is None:
        raise MissingFileError(
            name, "the template's file from nilearn is missing", "Run: pip install nilearn"
        )
    image = images.read(path)
    return image.with_data(image.data / image.data.max().float())


def tissue_maps(name: str = DEFAULT) -> tuple[Grid, dict[str, torch.Tensor]] | None:
    """Return the grid and the probabilities of ``csf``, ``gm`` and ``wm`` of a template; None without them.

    Those of the default template are the program's own. In both templates of adults, CSF is the part of the
    brain mask outside gray and white matter.
    """
    if name.partition("+")[0] in catalog.names():
        found, table = probabilities(name)
        maps = {kind: torch.zeros(found.grid.shape) for kind in ("csf", "gm", "wm")}
        for position, index in enumerate(table.unsided[1:], 2):
            maps[("gm", "wm", "csf")[DSEG[table[index].tissue] - 1]] += found.data[position]
        return found.grid, maps
    if name not in catalog.ADULT:
        return None
    if name == DEFAULT:
        image, gm, wm = (_stored(name, kind) for kind in ("image", "GM", "WM"))
    else:
        image, gm, wm = map(_symmetric_map, ("t1", "gm", "wm"))
    brain = image.data > (0 if name == DEFAULT else BRAIN)
    csf = (1 - gm.data).sub_(wm.data).clamp_(min=0).mul_(brain)
    return image.grid, {"csf": csf, "gm": gm.data, "wm": wm.data}


def affine_to(name: str, other: str) -> np.ndarray | None:
    """Return the affine (mm to mm) from a bundled template to another.

    It is that of their structures' maps (``brainseg train template``), stored on the card of the first.

    Parameters
    ----------
    name, other : str
        Names of the templates.

    Returns
    -------
    ndarray, shape (4, 4), or None
        The affine; None if it is not known.

    Examples
    --------
    >>> affine_to(SYMMETRIC, SYMMETRIC)[0, 0].item(), affine_to("BrainsegFetal", SYMMETRIC)
    (1.0, None)
    """
    if name == other:
        return np.eye(4)
    path = catalog.folder() / f"{name}.json"
    found = catalog.card(name).get("affine_to", {}) if path.is_file() else {}
    return np.array(found[other], float) if other in found else None


def coarser(grid: Grid, step: int) -> Grid:
    """Return the grid of every ``step``-th voxel, from the first: TemplateFlow's grids of res-2 and so on.

    Examples
    --------
    >>> coarser(Grid((193, 229, 193), np.eye(4)), 2).shape
    (97, 115, 97)
    """
    affine = grid.affine.copy()
    affine[:3, :3] *= step
    x, y, z = ((n + step - 1) // step for n in grid.shape)
    return Grid((x, y, z), affine)


def probabilities(name: str) -> tuple[Volume, LabelTable]:
    """Return image and probabilities of a cohort of a template by age, and their label table.

    Parameters
    ----------
    name : str
        Template and cohort, such as ``BrainsegFetal+28`` or ``BrainsegFetal+24sb``.

    Raises
    ------
    UsageError
        If the cohort is missing or unknown.
    """
    base, _, cohort = name.partition("+")
    meant = catalog.parse_cohort(base, cohort)
    if meant is None:
        remedy = f"Name a cohort, such as {base}:cohort-30"
        raise UsageError(None, f"the template {name!r} needs a cohort", remedy)
    stem, weeks = meant
    return age_template.load(stem).on_grid(weeks), load_table(catalog.card(stem)["label_table"])


def _by_age(name: str) -> Template:
    found, table = probabilities(name)
    # At the edges of the box there is neither background nor brain.
    brain = (found.data[1] < 0.5) & (found.data[2:].sum(0) > 0.5)
    grid = found.grid
    x = torch.arange(grid.shape[0]) * grid.affine[0, 0] + grid.affine[0, 3]
    centroids: dict[int, tuple[float, float, float]] = {}
    for position, index in enumerate(table.unsided[1:], 2):
        partner = table[index].partner
        for side, sign in ((index, -1), (partner, 1)) if partner != index else ((index, 0),):
            half = (x * sign >= 0)[:, None, None] if sign else torch.ones(1, 1, 1)
            weight = (found.data[position] * half).double()
            sums = [weight.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
            voxel = [float((s * torch.arange(len(s))).sum() / s.sum()) for s in sums]
            point = grid.affine[:3, :3] @ np.array(voxel) + grid.affine[:3, 3]
            centroids[side] = (float(point[0]), float(point[1]), float(point[2]))
    image = (found.data[0] * brain).clamp(min=0) * 1000
    return Template(name, Volume(image, grid.affine), Volume(brain.to(torch.uint8), grid.affine), centroids)
