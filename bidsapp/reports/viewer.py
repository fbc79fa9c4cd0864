"""The data of the report's viewer: a brain at 1 mm with its labels, packed into a script.

A page opened from a disk must not read files, but may run a script in its folder.
"""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
from isal import isal_zlib
from PIL import Image
from scipy.ndimage import find_objects

from .scans import Scan


def pack(
    scan: Scan, levels: tuple[float, float], *, structures: Scan, tissues: Scan, names: list[int]
) -> str:
    """Return a script that passes a volume and its labels to ``window.brainsegViewer``.

    Parameters
    ----------
    scan : Scan
        The image.
    levels : tuple of float
        Its black and white point.
    structures : Scan
        Positions in the label table, on the grid of the image.
    tissues : Scan
        1 gray matter, 2 white matter, 3 CSF, plus 8 in the brain mask; on the grid of the image.
    names : list of int
        Label index of each position.
    """
    sizes = tuple(max(8, round(n * s)) for n, s in zip(scan.data.shape, scan.spacing, strict=True))
    step = np.diag([*(n / m for n, m in zip(scan.data.shape, sizes, strict=True)), 1.0])
    step[:3, 3] = (np.diag(step)[:3] - 1) / 2
    affine = scan.affine @ step
    low, high = levels
    gray = np.clip((scan.onto(sizes, affine).data - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    near = structures.onto(sizes, affine, order=0).data
    columns = int(np.ceil(np.sqrt(sizes[2] * sizes[1] / sizes[0])))
    content = {
        "shape": list(sizes),
        "affine": np.round(affine[:3], 5).tolist(),
        "columns": columns,
        "image": base64.b64encode(_sprite(gray, columns)).decode(),
        "structures": _packed(near),
        "tissues": _packed(tissues.onto(sizes, affine, order=0).data),
        "places": {str(names[position]): place for position, place in _places(near).items()},
    }
    return f"window.brainsegViewer({json.dumps(content, separators=(',', ':'))});\n"


def _sprite(volume: np.ndarray, columns: int) -> bytes:
    """Return axial slices as one WebP image, the first at the top left, posterior on top."""
    x, y, z = volume.shape
    rows = -(-z // columns)
    sheet = np.zeros((rows * y, columns * x), np.uint8)
    for k in range(z):
        top, left = (k // columns) * y, (k % columns) * x
        sheet[top : top + y, left : left + x] = volume[:, :, k].T
    out = BytesIO()
    Image.fromarray(sheet).save(out, "WEBP", quality=72, method=1)
    return out.getvalue()


def _packed(volume: np.ndarray) -> str:
    """Return the deflated voxels in Fortran order as base64."""
    return base64.b64encode(isal_zlib.compress(volume.astype(np.uint8).tobytes(order="F"), 2)).decode()


def _places(structures: np.ndarray) -> dict[int, list[int]]:
    """Return a voxel in each structure, near its center."""
    found = {}
    for label, box in enumerate(find_objects(structures), start=1):
        if box is not None:
            voxels = np.argwhere(structures[box] == label)
            nearest = voxels[np.abs(voxels - voxels.mean(0)).sum(1).argmin()]
            found[label] = [int(v + part.start) for v, part in zip(nearest, box, strict=True)]
    return found
