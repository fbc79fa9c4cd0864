"""Score lesions against manual masks.

``python benchmarks/lesion.py DATA ... [--out benchmarks/README.md]`` finds in each folder the images
``*_FLAIR.nii.gz`` or ``*_T2w.nii.gz`` with a ``*_label-lesion_mask.nii.gz`` of the same name, and the test
patients of the LGG Segmentation data set (folders of TIFF slices). The brain mask is the program's own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import tables
import torch
from scipy import ndimage

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.population import contrasts
from brainseg.models.segmentation import lesion, skullstrip
from brainseg.training.lesion import lgg, prepare


def cases(folder: Path) -> list[tuple[str, str, Volume, Volume]]:
    """Return group, name, image and lesions of every case in a folder."""
    found = []
    for path in sorted(folder.rglob("*_label-lesion_mask.nii.gz")):
        stem = path.name.removesuffix("_label-lesion_mask.nii.gz")
        images = [p for c in contrasts.LESION if (p := path.with_name(f"{stem}_{c}.nii.gz")).is_file()]
        if images:
            suffix = images[0].name.removesuffix(".nii.gz").rpartition("_")[2]
            group = f"{folder.name}, {suffix}"
            found.append((group, stem, conform.read(images[0]), conform.read(path)))
    if found or not any(folder.rglob("*_mask.tif")):
        return found
    for patient in prepare.split(folder)["test"]:
        count = len(list(patient.glob("*_mask.tif")))
        found.append(("LGG, patients for the test, FLAIR", patient.name, *lgg.read(patient, count)))
    return found


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1)


def largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else mask


def score(image: Volume, truth: Volume, threshold: float = 0.5) -> dict[str, float]:
    """Return the scores of a case."""
    begin = time.process_time()
    brain = skullstrip.skullstrip(image).mask
    middle = time.process_time()
    found = lesion.find(image, brain, threshold=threshold)
    seen, true = found.mask.data.numpy() > 0, truth.data.numpy() > 0
    voxel = image.grid.voxel_volume / 1000
    pieces, count = ndimage.label(true, np.ones((3, 3, 3)))
    hit = len(set(np.unique(pieces[seen]).tolist()) - {0})
    return {
        "dice": dice(seen, true),
        "largest": dice(largest(seen), true),
        "true": true.sum() * voxel,
        "found": seen.sum() * voxel,
        "lesions": count,
        "hit": hit,
        "false": sum(not true[part].any() for part in _parts(seen)),
        "brain": float((true & (brain.data.numpy() > 0)).sum() / max(true.sum(), 1)),
        "seconds": time.process_time() - middle,
        "before": middle - begin,
    }


def _parts(mask: np.ndarray) -> list[np.ndarray]:
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return [pieces == k for k in range(1, count + 1)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows, by_group = [], {}
    for folder in args.data:
        for group, name, image, truth in cases(folder):
            try:
                one = score(image, truth)
            except InputError as error:
                tables.say(f"{name}: {error.reason}")
                rows.append([group, name, 0.0, "–", "–", "–", error.reason, "–", "–"])
                by_group.setdefault(group, []).append(0.0)
                continue
            by_group.setdefault(group, []).append(one["dice"])
            lesions = f"{one['hit']} of {one['lesions']}"
            values = [one["dice"], one["largest"], round(one["true"], 1), round(one["found"], 1)]
            rows.append([group, name, *values, lesions, one["false"], round(one["seconds"], 1)])
            tables.say(f"{name}: Dice {one['dice']:.3f}, {one['brain']:.3f} of the lesion in the brain mask")
    columns = ["data", "case", "Dice", "largest alone", "true (mL)", "found (mL)", "lesions hit", "false"]
    text = tables.markdown([*columns, "CPU (s)"], rows, digits=3)
    means = [[group, len(d), float(np.mean(d)), float(np.median(d))] for group, d in by_group.items()]
    text += "\n\n" + tables.markdown(["data", "cases", "mean Dice", "median"], means, digits=3)
    print(text)
    if args.out:
        tables.put(args.out, "lesion", text + "\n\n" + tables.stamp("lesion", "skullstrip"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
