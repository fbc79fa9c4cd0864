"""Templates that come with the program: image, brain mask and where their structures lie.

The default is ICBM152 2009a symmetric (Fonov et al. 2011) as nilearn's wheel carries it, under its
TemplateFlow name. The places of its structures were computed once, by the program's own segmentation of
it (``brainseg train template``), and stand in ``models/data/templates/<name>.json``.
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
from .catalog import DEFAULT

BRAIN = 0.2
"""Brightness from which on the stripped default template is brain, as nilearn has it."""


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
        Centre (mm) of every structure by FreeSurfer id; empty until computed.
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
        If the program does not carry it.
    """
    if name.partition("+")[0] in catalog.names():
        return _by_age(name)
    if name != DEFAULT:
        raise UsageError(None, f"the template {name!r} does not come with the program", f"Use {DEFAULT}")
    image = _carried("t1")
    brain = (image.data > BRAIN).to(torch.uint8)
    return Template(name, image, image.with_data(brain), catalog.centroids(name))


@cache
def _carried(kind: str) -> Volume:
    """``t1``, ``gm`` or ``wm`` of the default template, its largest value 1.

    The file is read without importing nilearn, whose data sets take two seconds.

    Raises
    ------
    MissingFileError
        If nilearn is not installed or does not carry it.
    """
    spec = find_spec("nilearn")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = next((p for f in folders if (p := f / "datasets" / "data" / name).is_file()), None)
    if path is None:
        raise MissingFileError(name, "nilearn, which carries the template, is missing", "pip install nilearn")
    image = images.read(path, np.float32)
    return image.with_data(image.data / image.data.max())


@cache
def tissue_maps(name: str = DEFAULT) -> tuple[Grid, dict[str, torch.Tensor]] | None:
    """A template's probabilities of ``csf``, ``gm`` and ``wm`` with their grid; None where it has none.

    Fluid is what the brain mask holds besides grey and white matter.
    """
    if name.partition("+")[0] in catalog.names():
        found, table = probabilities(name)
        maps = {kind: torch.zeros(found.grid.shape) for kind in ("csf", "gm", "wm")}
        for position, index in enumerate(table.unsided[1:], 2):
            maps[("gm", "wm", "csf")[DSEG[table[index].tissue] - 1]] += found.data[position]
        return found.grid, maps
    if name != DEFAULT:
        return None
    gm, wm = (_carried(kind).data.clamp(0, 1) for kind in ("gm", "wm"))
    csf = (1 - gm - wm).clamp(0, 1) * (_carried("t1").data > BRAIN)
    return _carried("gm").grid, {"csf": csf, "gm": gm, "wm": wm}


def probabilities(name: str) -> tuple[Volume, LabelTable]:
    """Image and probabilities of one cohort of a template by age, such as ``BrainsegFetal+28``, ``+24sb``."""
    base, _, cohort = name.partition("+")
    meant = catalog.parse_cohort(base, cohort)
    if meant is None:
        remedy = f"Name a cohort, such as {base}:cohort-30"
        raise UsageError(None, f"the template {name!r} goes by age", remedy)
    stem, weeks = meant
    return age_template.load(stem).on_grid(weeks), load_table(catalog.card(stem)["label_table"])


def _by_age(name: str) -> Template:
    found, table = probabilities(name)
    brain = found.data[1] < 0.5
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
