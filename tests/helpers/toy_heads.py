"""Label maps of toy heads: balls where structures lie, mirrored left and right, in a skull."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (72, 80, 72)

LEFT = {
    # source label: center (x to the left, y to the front, z up) and radius in voxels of 1 mm
    8: ((9, -16, -14), 7),
    7: ((9, -16, -14), 4),
    4: ((5, -2, 9), 4),
    5: ((15, -6, -4), 3),
    10: ((5, -3, 2), 3),
    11: ((6, 8, 5), 3),
    12: ((13, 4, 0), 4),
    13: ((8, 3, -2), 2),
    17: ((16, -3, -9), 3),
    18: ((14, 4, -10), 3),
    26: ((5, 11, -4), 2),
    28: ((4, -2, -6), 3),
}
MIDDLE = {16: ((0, -9, -14), 4), 14: ((0, -2, 4), 2), 15: ((0, -13, -10), 2)}
RIGHT = {8: 47, 7: 46, 4: 43, 5: 44, 10: 49, 11: 50, 12: 51, 13: 52, 17: 53, 18: 54, 26: 58, 28: 60}


def head(shift: float = 0.0) -> np.ndarray:
    """A head, its structures moved by ``shift`` voxels to the front; axes run to the right, front and top."""
    x, y, z = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
    ball = lambda c, r: (x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2 <= r**2  # noqa: E731
    radius = np.sqrt((x / 27) ** 2 + (y / 31) ** 2 + (z / 26) ** 2)
    out = np.zeros(SHAPE, np.int16)
    out[radius < 1.25] = 516
    out[radius < 1.12] = 24
    left = x < 0
    for level, (on_left, on_right) in ((1.0, (3, 42)), (0.82, (2, 41))):
        out[(radius < level) & left] = on_left
        out[(radius < level) & ~left] = on_right
    for label, ((across, front, up), r) in LEFT.items():
        out[ball((-across, front + shift, up), r)] = label
        out[ball((across, front + shift, up), r)] = RIGHT[label]
    for label, ((across, front, up), r) in MIDDLE.items():
        out[ball((across, front + shift, up), r)] = label
    return out


def write(folder: Path, count: int = 2) -> list[Path]:
    """Write ``count`` heads as NIfTI in LIA orientation, as the real maps are."""
    out = []
    for number in range(count):
        affine = np.eye(4)
        affine[:3, 3] = [-30 - number, -41, -28 + number]
        image = nib.Nifti1Image(head(number), affine)
        codes = nib.orientations.axcodes2ornt(("L", "I", "A"))
        path = folder / f"toy-{number}_dseg.nii.gz"
        nib.save(image.as_reoriented(codes), path)
        out.append(path)
    return out
