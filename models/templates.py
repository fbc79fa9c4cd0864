"""Templates that come with the program: image, brain mask and where their structures lie.

The default is ICBM152 2009a symmetric (Fonov et al. 2011) as nilearn's wheel carries it, under its
TemplateFlow name. The places of its structures were computed once, by the program's own segmentation of
it (``brainseg train template``), and stand in ``models/templates/<name>.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch

from . import growing
from .errors import UsageError
from .labels import DSEG, LabelTable
from .labels import load as load_table
from .volume import Grid, Volume

DEFAULT = "MNI152NLin2009aSym"


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
    if name.partition("+")[0] in growing.names():
        return _by_age(name)
    if name != DEFAULT:
        raise UsageError(None, f"the template {name!r} does not come with the program", f"Use {DEFAULT}")
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image = load_mni152_template(resolution=1)
    mask = load_mni152_brain_mask(resolution=1)
    affine = np.asarray(image.affine, np.float64)
    data = torch.from_numpy(np.asarray(image.dataobj, np.float32))
    brain = torch.from_numpy((np.asarray(mask.dataobj) > 0).astype(np.uint8))
    file = files(__package__) / "templates" / f"{name}.json"
    found = json.loads(file.read_text())["centroids"] if file.is_file() else {}
    centroids = {int(k): tuple(point) for k, point in found.items()}
    return Template(name, Volume(data, affine), Volume(brain, affine), centroids)


@cache
def tissue_maps(name: str = DEFAULT) -> tuple[Grid, dict[str, torch.Tensor]] | None:
    """A template's probabilities of ``csf``, ``gm`` and ``wm`` with their grid; None where it has none.

    Fluid is what the brain mask holds besides grey and white matter.
    """
    if name.partition("+")[0] in growing.names():
        found, table = probabilities(name)
        maps = {kind: torch.zeros(found.grid.shape) for kind in ("csf", "gm", "wm")}
        for position, index in enumerate(table.unsided[1:], 2):
            maps[("gm", "wm", "csf")[DSEG[table[index].tissue] - 1]] += found.data[position]
        return found.grid, maps
    if name != DEFAULT:
        return None
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    maps = [fetch(resolution=1) for fetch in (load_mni152_gm_template, load_mni152_wm_template)]
    gm, wm = (torch.from_numpy(np.asarray(m.dataobj, np.float32)).clamp(0, 1) for m in maps)
    brain = torch.from_numpy(np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0)
    csf = (1 - gm - wm).clamp(0, 1) * brain
    affine = np.asarray(maps[0].affine, np.float64)
    return Volume(gm, affine).grid, {"csf": csf, "gm": gm, "wm": wm}


def probabilities(name: str) -> tuple[Volume, LabelTable]:
    """Image and probabilities of one cohort of a template by age, such as ``BrainsegFetal+28``."""
    base, _, cohort = name.partition("+")
    if not cohort.isdigit():
        raise UsageError(None, f"the template {name!r} goes by age", f"Name a cohort, such as {base}+30")
    return growing.load(base).on_grid(float(cohort)), load_table(growing.card(base)["label_table"])


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
