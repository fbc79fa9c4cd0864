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

from .errors import UsageError
from .volume import Volume

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
