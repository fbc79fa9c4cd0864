"""Means and masks of a study in template space, for voxel-based morphometry (``--steps vbm``)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ....interfaces.io import files
from ....models.io import outputs
from ....models.io.atomic import write_text
from ....models.io.images import open_image
from ..derivatives import Result

MASK = 0.2
"""Mean modulated probability from which a voxel is in the mask of the study."""

MNI = 4
"""NIfTI code of coordinates in a template."""

MEAN_OF = "group_{space}_label-{label}_desc-mean_probseg.nii.gz"
MASK_OF = "group_{space}_label-{label}_mask.nii.gz"
MODULATED = re.compile(rf"_(space-.+?)_label-([A-Z]+)_{re.escape('desc-modulated_probseg.nii.gz')}$")


def write(out_dir: Path, results: list[Result]) -> list[Path]:
    """Write mean and mask of the modulated maps for every template; without any map remove them.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    results : list of Result
        All participant-sessions; those that are not done are left out.

    Returns
    -------
    list of Path
        The images, each with a JSON file that names its participant-sessions.
    """
    groups: dict[tuple[str, str], list[tuple[str, Path]]] = defaultdict(list)
    for result in results:
        for name in result.listed if result.state == "done" else ():
            if found := MODULATED.search(name):
                groups[found[1], found[2]].append((result.key, result.folder / "anat" / name))
    written = []
    for (space, label), members in groups.items():
        written += _write_group(out_dir, space, label, members)
    for path in out_dir.glob("group_space-*.nii.gz"):
        if path not in written:
            path.unlink(missing_ok=True)
            (out_dir / outputs.sidecar(path.name)).unlink(missing_ok=True)
    return written


def _write_group(out_dir: Path, space: str, label: str, members: list[tuple[str, Path]]) -> list[Path]:
    """Write mean and mask of one tissue in a template, without images on another grid than the first."""
    first: Any = open_image(members[0][1])
    total, used, left = np.zeros(first.shape, np.float64), [], []
    for key, path in members:
        image = open_image(path)
        if image.shape == first.shape and np.allclose(image.affine, first.affine, atol=1e-3):
            total += np.asarray(image.dataobj, np.float32)
            used.append(key)
        else:
            left.append(key)
    mean = (total / len(used)).astype(np.float32)
    about: dict[str, Any] = {
        "ParticipantSessions": used,
        "OnAnotherGrid": left,
        "SpatialReference": space.partition("-")[2],
    }
    words = f"Mean of the modulated probability of {label} of {len(used)} participant-session"
    words += "s" if len(used) > 1 else ""
    entries: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        MEAN_OF: (mean, {"Description": words}),
        MASK_OF: (
            (mean > MASK).astype(np.uint8),
            {"Description": f"{words}, above {MASK:g}", "Type": label, "Threshold": MASK},
        ),
    }
    out = []
    for name, (data, described) in entries.items():
        path = out_dir / name.format(space=space, label=label)
        out.append(files.write_image(path, data, first.affine, MNI))
        text = json.dumps(described | about, indent=2)
        write_text(out_dir / outputs.sidecar(path.name), f"{text}\n")
    return out
