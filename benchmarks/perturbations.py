"""Score degraded scans with manual labels: thick slices, inverted contrast, bias, noise, cropping.

``python benchmarks/perturbations.py DATA [--out benchmarks/README.md]`` with the folder of
``adult_manual.py``. Each scan passes through the whole pipeline once for every perturbation, on the grid
that a user would have: thick slices are segmented and scored as thick slices, with the most frequent label
of each voxel as truth. The column on sides is the loss of Dice if left and right count as different.
With ``--cache`` every row is stored, and reused as long as the weights are the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tables
import torch
import torch.nn.functional as F
from adult_manual import HEADLINE, cases, run_volume, score_volumes

from brainseg.models.geometry.volume import Grid, Volume, resample
from brainseg.models.io import atomic, conform
from brainseg.models.networks import zoo
from brainseg.models.population import labels
from brainseg.training.evaluation import segmentation

THICK = 5.0
BIAS = 0.5
NOISE = 0.1
CROPPED = 0.25
WEIGHTS = ("head-coarse", "skullstrip", "segmentation")


def thick(axis: int) -> Callable[[Volume], Volume]:
    """Return the perturbation to slices of ``THICK`` mm along an axis."""

    def change(scan: Volume) -> Volume:
        return resample(scan, thick_grid(scan.grid, axis))

    return change


def thick_grid(grid: Grid, axis: int) -> Grid:
    """Return the grid with slices of ``THICK`` mm along an axis."""
    ratio = THICK / grid.spacing[axis]
    affine, shape = grid.affine.copy(), list(grid.shape)
    shape[axis] = int(np.ceil(shape[axis] / ratio))
    affine[:3, 3] += affine[:3, axis] * (ratio - 1) / 2
    affine[:3, axis] *= ratio
    return Grid((shape[0], shape[1], shape[2]), affine)


def inverted(scan: Volume) -> Volume:
    """Invert the contrast inside the brain."""
    inside = scan.data > 0
    return scan.with_data(torch.where(inside, scan.data.max() * 1.02 - scan.data, 0.0))


def biased(scan: Volume) -> Volume:
    """Multiply the scan by a strong smooth bias field."""
    points = torch.randn(1, 1, 4, 4, 4) * BIAS
    field = F.interpolate(points, size=scan.grid.shape, mode="trilinear", align_corners=True)[0, 0]
    return scan.with_data(scan.data * field.exp())


def noisy(scan: Volume) -> Volume:
    """Add noise of a tenth of the brightest tissue, inside the brain only, as in stripped images."""
    inside = scan.data > 0
    level = NOISE * float(torch.quantile(scan.data[inside][::50], 0.95))
    noise = torch.randn(2, *scan.grid.shape) * level
    return scan.with_data(torch.where(inside, torch.hypot(scan.data + noise[0], noise[1]), 0.0))


def cropped(scan: Volume) -> Volume:
    """Crop the field of view by the upper quarter of the brain."""
    height = (scan.data > 0).any(0).any(0).nonzero()[:, 0]
    keep = int(height[-1]) - round(CROPPED * (int(height[-1]) - int(height[0])))
    return scan.crop((0, 0, 0), (*scan.grid.shape[:2], keep))


KINDS: dict[str, Callable[[Volume], Volume]] = {
    "as they are": lambda scan: scan,
    "5 mm sagittal": thick(0),
    "5 mm coronal": thick(1),
    "5 mm axial": thick(2),
    "inverted": inverted,
    "bias": biased,
    "noise": noisy,
    "cropped": cropped,
}


def on_grid(truth: Volume, grid: Grid) -> Volume:
    """Return the labels on another grid: the most frequent label of every voxel."""
    if grid.shape == truth.grid.shape and np.allclose(grid.affine, truth.affine):
        return truth
    best, out = torch.zeros(grid.shape), torch.zeros(grid.shape, dtype=torch.int32)
    for value in truth.data.unique().tolist():
        share = resample(truth.with_data((truth.data == value).float()), grid).data
        out = torch.where(share > best, value, out)
        best = torch.maximum(share, best)
    return Volume(out, grid.affine)


def unsided(volume: Volume) -> Volume:
    """Return the structures with the ids of the left side."""
    table = labels.load("adult")
    left = torch.arange(int(volume.data.max()) + 1)
    for label in table:
        if label.index < len(left):
            left[label.index] = min(label.index, label.partner)
    return volume.with_data(left[volume.data.long()].int())


def sides_lost(truth: Volume, found: Volume, reference: Path) -> float:
    """Return the mean Dice without sides minus the mean with sides."""
    mapped = segmentation.read_mapping("neuromorphometrics").apply(truth.data.numpy(), reference)
    counted = torch.from_numpy((mapped != segmentation.IGNORED).astype(np.int32))
    mapped = truth.with_data(torch.from_numpy(np.maximum(mapped, 0)).int())
    found = found.with_data(found.data.int() * counted)
    table, means = labels.load("adult"), []
    for change in (unsided, lambda volume: volume):
        by_structure: dict[int, list[float]] = {}
        for row in segmentation.compare(change(mapped), change(found), path=reference, surfaces=False):
            if row["reference_mm3"] > 0:
                left = min(row["index"], table[row["index"]].partner)
                by_structure.setdefault(left, []).append(row["dice"])
        means.append(float(np.mean([np.mean(sides) for sides in by_structure.values()])))
    return means[0] - means[1]


def measure(kind: str, image: Path, reference: Path, surfaces: bool) -> dict[str, float]:
    """Return the scores of one scan after one perturbation."""
    torch.manual_seed(0)
    scan = KINDS[kind](conform.read(image).canonical())
    found, facts = run_volume(scan)
    truth = on_grid(segmentation.read_labels(reference), scan.grid)
    scores = score_volumes(truth, found, reference, surfaces)
    out = {name: scores[name][0] for name in HEADLINE}
    if surfaces:
        out["hd95"] = float(np.nanmean([scores[name][1] for name in HEADLINE]))
    return out | {
        "sides": sides_lost(truth, found, reference),
        "seconds": facts["seconds"],
    }


def kept(
    folder: Path | None, name: str, kind: str, image: Path, reference: Path, surfaces: bool
) -> dict[str, float]:
    """Return the scores of :func:`measure`, from the cache if stored."""
    if folder is None:
        return measure(kind, image, reference, surfaces)
    weights = "".join(zoo.read_card(one)["sha256"] for one in WEIGHTS)
    named = tables.digest(image.read_bytes(), reference.read_bytes(), weights, str(surfaces))
    path = folder / f"{name}_{kind.replace(' ', '-')}_{named}.json"
    if path.is_file():
        return json.loads(path.read_text())
    found = measure(kind, image, reference, surfaces)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, keep_extension=True) as partial:
        partial.write_text(json.dumps(found))
    return found


def report(scores: dict[str, list[dict[str, float]]], surfaces: bool) -> str:
    """Return the table by perturbation, and the table of means by structure."""
    count = max(len(found) for found in scores.values())
    rows, every = [], []
    for kind, found in scores.items():
        mean = {name: float(np.nanmean([one[name] for one in found])) for name in found[0]}
        structures = {name: mean[name] for name in HEADLINE}
        lowest = min(structures, key=structures.get)
        worst = min(float(np.nanmean([one[n] for n in HEADLINE])) for one in found)
        row = [kind, float(np.mean(list(structures.values()))), worst, f"{lowest} {structures[lowest]:.2f}"]
        rows.append([*row, *([mean["hd95"]] if surfaces else []), mean["sides"], mean["seconds"]])
        every.append([kind, *structures.values()])
    header = ["", "mean Dice", "lowest scan", "lowest structure"]
    header += [*(["HD95 (mm)"] if surfaces else []), "lost to sides", "seconds"]
    return (
        f"{count} scans with manual labels, {len(HEADLINE)} structures, the whole pipeline.\n\n"
        f"{tables.markdown(header, rows)}\n\n{tables.markdown(['Dice', *HEADLINE], every, 2)}\n\n"
        f"{tables.stamp(*WEIGHTS)}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--participant-label", nargs="+", help="only these scans")
    parser.add_argument("--cache", type=Path, help="folder to store scores, so that a killed run continues")
    parser.add_argument("--no-surfaces", action="store_true", help="Dice only, faster")
    args = parser.parse_args(argv)
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in args.participant_label or []}
    scores: dict[str, list[dict[str, float]]] = {}
    for name, image, reference in cases(args.data):
        if wanted and name not in wanted:
            continue
        for kind in args.kinds:
            found = kept(args.cache, name, kind, image, reference, not args.no_surfaces)
            scores.setdefault(kind, []).append(found)
            mean = np.nanmean([found[k] for k in HEADLINE])
            tables.say(f"{name} {kind} Dice {mean:.3f}, {found['seconds']:.0f} s")
    if not scores:
        raise SystemExit("none of the selected scans exists")
    text = report(scores, not args.no_surfaces)
    print(text)
    if args.out:
        tables.put(args.out, "perturbations", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
