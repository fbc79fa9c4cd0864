"""Score degraded fetal brains by level: noise, resolution, contrast and bias.

``python benchmarks/fetal_perturbations.py DATA [--out benchmarks/README.md]``, DATA as for ``fetal.py``.
Each image passes through the program's own stages once for every level, on the grid that a user would have:
an image of 2 mm is segmented and scored at 2 mm, with the most frequent label of each voxel as truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import fetal
import nibabel as nib
import numpy as np
import tables
import torch
from perturbations import inverted, on_grid

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume, resample
from brainseg.models.io import conform
from brainseg.models.population import growth, populations

BRIGHT = 0.95
"""Quantile of the brain's intensities to which noise is relative."""


def noisy(level: float) -> Callable[[Volume], Volume]:
    """Return the change to an image with Rician noise inside the brain, as in extracted brains."""

    def change(scan: Volume) -> Volume:
        inside = scan.data > 0
        deviation = level * float(torch.quantile(scan.data[inside][::10], BRIGHT))
        noise = torch.randn(2, *scan.grid.shape) * deviation
        return scan.with_data(torch.where(inside, torch.hypot(scan.data + noise[0], noise[1]), 0.0))

    return change


def coarse(spacing: float) -> Callable[[Volume], Volume]:
    """Return the change to voxels of another size (mm), the mean of what they cover."""

    def change(scan: Volume) -> Volume:
        ratio = spacing / scan.grid.spacing
        affine = scan.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((ratio - 1) / 2)
        affine[:3, :3] = affine[:3, :3] * ratio
        shape = np.ceil(np.array(scan.grid.shape) / ratio).astype(int)
        return resample(scan, Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine))

    return change


def gamma(exponent: float) -> Callable[[Volume], Volume]:
    """Return the change of the contrast by a power of the intensities."""

    def change(scan: Volume) -> Volume:
        top = scan.data.max()
        return scan.with_data((scan.data.clamp(min=0) / top) ** exponent * top)

    return change


def biased(scan: Volume) -> Volume:
    """Multiply the image by a smooth field, three times as bright at one end of the brain as at the other."""
    ramp = torch.linspace(-0.55, 0.55, scan.grid.shape[1])[None, :, None]
    return scan.with_data(scan.data * ramp.exp())


KINDS: dict[str, Callable[[Volume], Volume]] = {
    "as they are": lambda scan: scan,
    "noise 5 %": noisy(0.05),
    "noise 10 %": noisy(0.1),
    "noise 20 %": noisy(0.2),
    "1.2 mm": coarse(1.2),
    "1.6 mm": coarse(1.6),
    "2 mm": coarse(2.0),
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "inverted": inverted,
    "bias": biased,
}
"""Change of the image by its name in the table."""


def measure(kind: str, folder: Path, record: populations.Population) -> dict[str, float]:
    """Return Dice of every tissue, of the mask and the error of the age (weeks) of one image."""
    torch.manual_seed(0)
    scan = KINDS[kind](conform.read(next(folder.rglob("*_T2w.nii.gz"))))
    image = nib.load(next(folder.rglob("*_dseg.nii.gz")))
    truth = Volume(torch.from_numpy(np.asarray(image.dataobj).astype(np.int32)), image.affine)
    found, mask, _, seconds = fetal.run(scan, record)
    scores = fetal.score(found, mask, on_grid(truth, scan.grid).data.numpy(), record.labels)
    weeks = float("".join(c for c in folder.name if c.isdigit()))
    estimated = growth.load(record.growth).estimate(found.volumes, record.labels) or float("nan")
    out = {name: scores[index]["dice"] for index, name in fetal.NAMES.items() if index in scores}
    out |= {"mean": fetal.mean_dice(scores), "mask": scores["brain"]["dice"]}
    return out | {"age": abs(estimated - weeks), "seconds": seconds}


def report(scores: dict[str, list[dict[str, float]]], refused: list[str]) -> str:
    """Return the table by level."""
    count = max(len(found) for found in scores.values())
    names = list(fetal.NAMES.values())
    rows = []
    for kind, found in scores.items():
        of = {name: float(np.nanmean([one.get(name, np.nan) for one in found])) for name in found[0]}
        least = min(one["mean"] for one in found)
        rows.append([kind, of["mean"], least, *(of[name] for name in names), of["mask"], of["age"]])
    header = ["", "mean Dice", "lowest brain", *names, "mask", "error of the age (weeks)"]
    text = f"{count} fetal brains that did not train, the program's own stages.\n\n"
    text += tables.markdown(header, rows)
    return text + "".join(f"\n\nRefused: {one}." for one in refused)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every subject")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--participant-label", nargs="+", help="only these subjects")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    record = populations.load("fetal")
    scores: dict[str, list[dict[str, float]]] = {kind: [] for kind in args.kinds}
    refused = []
    for folder in sorted(args.data.glob("sub-*")):
        label = folder.name.removeprefix("sub-")
        if args.participant_label and label not in args.participant_label:
            continue
        for kind in args.kinds:
            try:
                found = measure(kind, folder, record)
            except InputError as error:
                refused.append(f"{label}, {kind}: {error.reason}")
                tables.say(refused[-1])
                continue
            scores[kind].append(found)
            tables.say(f"{label} {kind}: Dice {found['mean']:.3f}, {found['age']:.1f} weeks off")
    scores = {kind: found for kind, found in scores.items() if found}
    if not scores:
        raise SystemExit(f"{args.data}: none of the selected subjects exists")
    text = report(scores, refused) + "\n\n" + tables.stamp(*dict.fromkeys(record.networks))
    print(text)
    if args.out:
        tables.put(args.out, "fetal_perturbations", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
