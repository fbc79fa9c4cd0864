"""Score masks and segmentations of real heads with skull against FreeSurfer's labels.

``python benchmarks/real_heads.py DATA [--out benchmarks/README.md]`` where DATA holds, for every head,
``sub-*_T1.mgz`` (or ``.nii.gz``) and FreeSurfer's ``sub-*_aseg.mgz``. Masks of other programs are compared
where ``peer_masks/sub-*_NAME.nii.gz`` exists.

FreeSurfer is a silver standard: its errors count as ours. The table has the tissue that the mask misses,
white matter that is labeled cortex and the reverse, the ratio of volumes, and Dice by structure. Volumes are
those of the program's tables (sums of probabilities).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import tables
import torch
from adult_manual import HEADLINE

from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.pipeline import process

OF_WHITE = (77, 78, 79, 251, 252, 253, 254, 255)
"""FreeSurfer labels that are parts of the white matter in ours: hypointensities and corpus callosum."""

STRUCTURES = HEADLINE | {"lateral ventricle": (4, 43, 5, 44)}
WHITE, CORTEX = (2, 41), (3, 42)
NOT_TISSUE = (0, 4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72, 80, 85)


def read(path: Path) -> Volume:
    """Return FreeSurfer's labels in canonical orientation."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj).astype(np.int16)
    data[np.isin(data, OF_WHITE)] = 2
    return Volume(torch.from_numpy(data), image.affine).canonical()


def scan_of(path: Path, folder: Path) -> Volume:
    """Return a conformed scan; MGZ becomes NIfTI first."""
    if path.suffix == ".mgz":
        image = nib.load(path)
        copy = folder / f"{path.stem}.nii.gz"
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine), copy)
        path = copy
    return conform.read(path)


def share(of: np.ndarray, where: np.ndarray) -> float:
    """Return the percentage of ``of`` that lies in ``where``."""
    return 100 * float((of & where).sum()) / max(1, int(of.sum()))


def score(scan: Volume, truth: np.ndarray) -> tuple[dict[str, float], process.Processed]:
    """Return the scores of one head, and its result."""
    done = process.process(scan)
    labels = done.segmentation.structures.canonical().data.numpy()
    mask = done.brain.mask.canonical().data.numpy() > 0
    white, cortex = np.isin(truth, WHITE), np.isin(truth, CORTEX)
    found = {
        "tissue missed (%)": share(~np.isin(truth, NOT_TISSUE), ~mask),
        "cortex missed (%)": share(cortex, ~mask),
        "WM called cortex (%)": share(white, np.isin(labels, CORTEX)),
        "cortex called WM (%)": share(cortex, np.isin(labels, WHITE)),
    }
    for name, ids in STRUCTURES.items():
        own, other = np.isin(labels, ids), np.isin(truth, ids)
        volume = sum(done.segmentation.volumes.get(i, 0.0) for i in ids)
        found[f"Dice {name}"] = 2 * float((own & other).sum()) / max(1, int(own.sum() + other.sum()))
        found[f"ratio {name}"] = volume / (float(other.sum()) * scan.grid.voxel_volume)
    found["Dice"] = float(np.mean([v for k, v in found.items() if k.startswith("Dice ")]))
    return found, done


def peers(folder: Path, name: str, truth: np.ndarray) -> dict[str, float]:
    """Return the tissue (%) that other programs' masks miss."""
    out = {}
    for path in sorted((folder / "peer_masks").glob(f"{name}_*.nii.gz")):
        image = nib.load(path)
        mask = Volume(torch.from_numpy(np.asanyarray(image.dataobj) > 0), image.affine).canonical()
        out[path.name.split("_")[1].split(".")[0]] = share(~np.isin(truth, NOT_TISSUE), ~mask.data.numpy())
    return out


def figure(scan: Volume, labels: Volume, mask: Volume, path: Path) -> None:
    """Draw sections with the mask (red), cortex (yellow) and white matter (cyan)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    image, brain = scan.canonical().data.numpy(), mask.canonical().data.numpy() > 0
    found = labels.canonical().data.numpy()
    top = float(np.quantile(image[brain], 0.995))
    canvas, axes = plt.subplots(3, 5, figsize=(20, 13), facecolor="black")
    for row, axis in zip(axes, range(3), strict=True):
        ends = np.nonzero(brain.any(tuple(a for a in range(3) if a != axis)))[0][[0, -1]]
        for panel, where in zip(row, np.linspace(*ends, 7)[1:-1].astype(int), strict=True):
            panel.imshow(image.take(where, axis).T, origin="lower", cmap="gray", vmax=top)
            for shown, color in (
                (brain, "red"),
                (np.isin(found, CORTEX), "yellow"),
                (np.isin(found, WHITE), "cyan"),
            ):
                if shown.take(where, axis).any():
                    panel.contour(shown.take(where, axis).T, [0.5], colors=color, linewidths=0.6)
            panel.set_axis_off()
    canvas.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=80, facecolor="black")
    plt.close(canvas)


def report(scores: dict[str, dict[str, float]], others: dict[str, dict[str, float]]) -> str:
    """Return the tables."""
    names = list(scores)
    first = [k for k in scores[names[0]] if not k.startswith(("Dice ", "ratio "))]
    rows = [[k, float(np.mean([scores[n][k] for n in names])), *(scores[n][k] for n in names)] for k in first]
    summary = tables.markdown(["", "mean", *names], rows)
    rows = []
    for name in STRUCTURES:
        ratios = [scores[n][f"ratio {name}"] for n in names]
        dice = float(np.mean([scores[n][f"Dice {name}"] for n in names]))
        rows.append([name, dice, float(np.mean(ratios)), *ratios])
    volumes = tables.markdown(["structure", "Dice", "volume ratio", *names], rows)
    words = "; ".join(
        f"{name}: " + ", ".join(f"{peer} {value:.1f} %" for peer, value in found.items())
        for name, found in others.items()
        if found
    )
    compared = f"\n\nTissue missed by the masks of other programs: {words}." if words else ""
    return (
        f"Real T1-weighted heads with skull, {len(names)} scans, against FreeSurfer's labels.\n\n{summary}"
        f"\n\nDice and volumes (ours / FreeSurfer's) by structure:\n\n{volumes}{compared}\n\n"
        f"{tables.stamp('head-coarse', 'deepbet', 'segmentation')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with sub-*_T1.mgz and sub-*_aseg.mgz")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--figures", type=Path, help="folder for one figure per head")
    args = parser.parse_args(argv)
    scores, others = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted([*args.data.glob("sub-*_T1.mgz"), *args.data.glob("sub-*_T1.nii.gz")]):
            name = path.name.split("_")[0]
            truth = read(args.data / f"{name}_aseg.mgz").data.numpy()
            scan = scan_of(path, Path(folder))
            scores[name], done = score(scan, truth)
            others[name] = peers(args.data, name, truth)
            tables.say(f"{name} " + " ".join(f"{k} {v:.3f}" for k, v in scores[name].items()))
            if args.figures:
                figure(scan, done.segmentation.structures, done.brain.mask, args.figures / f"{name}.png")
    if not scores:
        raise SystemExit(f"{args.data}: no sub-*_T1.mgz")
    text = report(scores, others)
    print(text)
    if args.out:
        tables.put(args.out, "real_heads", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
