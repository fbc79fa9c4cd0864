"""Small images with labels that their intensities tell: a ball with a core, for quick trainings."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

TABLE = "index\tname\ttissue\n1\tCSF\tcsf\n2\tGM\tgm\n3\tWM\twm\n"


def ball(seed: int, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels: a shell 2 with a core 3, and a few voxels of 1 in its middle."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij")
    r = np.sqrt(sum((axis - rng.uniform(-0.1, 0.1)) ** 2 for axis in axes))
    labels = np.zeros((side,) * 3, np.int16)
    labels[r < 0.85] = 2
    labels[r < 0.5] = 3
    labels[r < 0.2] = 1
    image = np.array([0, 200, 600, 1000])[labels] + rng.normal(0, 20, labels.shape) * (labels > 0)
    return image.astype(np.float32), labels


def write(root: Path, count: int = 6, contrasts: tuple[str, ...] = ("T1w",), *, mask: bool = False) -> Path:
    """Write a BIDS-like folder of such images, with labels ``*_dseg`` or lesion masks."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for k in range(count):
        image, labels = ball(k)
        folder = root / f"sub-{k:02d}" / "anat"
        folder.mkdir(parents=True)
        for j, contrast in enumerate(contrasts):
            values = image if j == 0 else 1000 * (labels > 0) - image
            nib.save(
                nib.Nifti1Image(values.astype(np.float32), affine), folder / f"sub-{k:02d}_{contrast}.nii.gz"
            )
        if mask:
            labels = (labels == 1).astype(np.int16)
            brain = nib.Nifti1Image((image > 0).astype(np.uint8), affine)
            nib.save(brain, folder / f"sub-{k:02d}_desc-brain_mask.nii.gz")
        ending = "label-lesion_mask" if mask else "dseg"
        nib.save(nib.Nifti1Image(labels, affine), folder / f"sub-{k:02d}_{ending}.nii.gz")
    return root


def write_slices(root: Path, count: int = 3) -> Path:
    """Write folders of slices (TIFF) of three channels with masks of 0 and 255."""
    for k in range(count):
        image, labels = ball(k)
        folder = root / f"CASE_{k}"
        folder.mkdir(parents=True)
        for z in range(4, 20):
            plane = np.clip(image[..., z] / 5, 0, 255).astype(np.uint8)
            Image.fromarray(np.stack([plane, 255 - plane, plane], -1)).save(folder / f"CASE_{k}_{z}.tif")
            mask = (255 * (labels[..., z] == 3)).astype(np.uint8)
            Image.fromarray(mask).save(folder / f"CASE_{k}_{z}_mask.tif")
    return root
