"""Test quality control on scans with manual labels: expected against true Dice, and planted failures.

``python benchmarks/quality.py DATA --cache DIR [--derivatives OUT ...] [--out benchmarks/README.md]`` where
DATA is as for ``adult_manual.py``. Every scan passes through the pipeline twice, the second time degraded;
the results are stored in the cache. Segmentations are then corrupted in ten ways at graded levels
(``brainseg.training.synthesis.corruption``). Failures are planted in the scans and in the derivatives of
earlier runs. The norms and weights of quality control come from label maps and synthetic heads, not from
these scans.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import adult_manual
import nibabel as nib
import numpy as np
import pandas as pd
import tables
import torch
from scipy import ndimage, stats

from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.preprocessing import bias
from brainseg.models.quality import measures, quality, rating
from brainseg.models.segmentation import segmentation, skullstrip
from brainseg.models.templates import catalog
from brainseg.training.evaluation import segmentation as evaluate
from brainseg.training.synthesis import corruption

PLAUSIBLE = (600.0, 2200.0)
DIRECTIONS = [(20, 0, 0), (-20, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 20), (0, 0, -20)]
"""Shifts (mm) of a planted mask."""

KINDS = ("noise", "strong noise", "blur", "strong blur", "bias", "thick slices", "ghosts", "no contrast")
MASK, BEFORE = "mask shifted 2 cm", "mask shifted 2 cm before segmentation"
SWAP, HALF, WRONG = "left and right exchanged", "half of the brain missing", "wrong registration"


@dataclass
class Case:
    """Results of the pipeline for a scan."""

    name: str
    image: Volume
    mask: Volume
    structures: Volume
    uncertainty: dict[int, float]
    truth: np.ndarray | None = None

    @property
    def matrix(self) -> np.ndarray:
        """Return the affine alignment with the template, by the structures."""
        return align(self.structures)


def align(structures: Volume) -> np.ndarray:
    """Return the affine alignment with the norms' template by centroids; the identity if too few exist."""
    found = quality.fit(measures.centroids(structures.data.numpy(), structures.affine), catalog.SYMMETRIC)
    return found[0] if found else np.eye(4)


def chain(path: Path, cache: Path, name: str, change=None, shift=None) -> Case:
    """Return the results of a scan; ``change`` degrades the scan, ``shift`` (mm) moves its mask."""
    file = cache / f"{name}.npz"
    if not file.is_file():
        scan = conform.read(path)
        brain = skullstrip.skullstrip(scan, mode="auto")
        mask = brain.mask
        image, _ = bias.correct(scan, mask)
        image = change(image) if change else image
        mask = moved(mask, shift) if shift else mask
        found = segmentation.segment(image, mask, region=None if shift else brain.region)
        arrays = {"image": image, "mask": mask, "structures": found.structures}
        np.savez_compressed(
            file,
            affine=image.affine,
            measures=json.dumps({"uncertainty": found.uncertainty}),
            **{k: v.data.numpy() for k, v in arrays.items()},
        )
    with np.load(file) as stored:
        volumes = [
            Volume(torch.from_numpy(stored[k]), stored["affine"]) for k in ("image", "mask", "structures")
        ]
        measures = json.loads(str(stored["measures"]))
    sure = {int(k): float(v) for k, v in measures.get("uncertainty", {}).items()}
    return Case(name, *volumes, sure)


def degrade(image: Volume, kind: str, rng: np.random.Generator) -> Volume:
    """Return a stripped scan with simulated artifacts of scanner or motion."""
    data = image.data.numpy().astype(np.float32)
    inside, level = data > 0, float(np.percentile(data[data > 0], 90))
    if kind.endswith("noise"):
        data = data + rng.normal(0, (0.25 if "strong" in kind else 0.08) * level, data.shape)
    elif kind.endswith("blur"):
        data = ndimage.gaussian_filter(data, 2.5 if "strong" in kind else 1.2)
    elif kind == "bias":
        points = rng.normal(0, 0.5, (4, 4, 4))
        data = data * np.exp(ndimage.zoom(points, np.array(data.shape) / 4, order=1))
    elif kind == "thick slices":
        thin = ndimage.uniform_filter1d(data, 6, axis=2)[:, :, 3::6]
        data = np.repeat(thin, 6, axis=2)
        data = np.pad(data, [(0, 0), (0, 0), (0, 6)], mode="edge")[:, :, : image.data.shape[2]]
    elif kind == "ghosts":
        quarter = data.shape[1] // 4
        data = data + 0.35 * np.roll(data, quarter, 1) + 0.35 * np.roll(data, -quarter, 1)
    else:
        data = 0.5 * level + 0.15 * data + rng.normal(0, 0.05 * level, data.shape)
    data = np.where(inside, np.maximum(data, 1e-3 * level), 0).astype(np.float32)
    return image.with_data(torch.from_numpy(data))


def moved(volume: Volume, mm: tuple[float, float, float]) -> Volume:
    """Return the volume shifted by whole voxels, about ``mm``."""
    voxels = np.rint(np.linalg.solve(volume.affine[:3, :3], np.array(mm, float))).astype(int)
    return volume.with_data(torch.from_numpy(np.roll(volume.data.numpy(), tuple(voxels), (0, 1, 2))))


def reference(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the manual labels as FreeSurfer ids on the grid of the scan, and the scored voxels."""
    image = nib.load(path)
    found = evaluate.read_mapping("neuromorphometrics").apply(np.asarray(image.dataobj).astype(int), path)
    truth = np.where(found < 0, 0, found)
    for horn, ventricle in adult_manual.HORN.items():
        truth[truth == horn] = ventricle
    return truth, found >= 0


def scores(
    case: Case, norms: quality.Norms, level: str, structures: Volume
) -> Iterator[tuple[str, int, float, float]]:
    """Return expected and true Dice of the structures in the manual labels."""
    joined = structures.data.numpy().copy()
    for horn, ventricle in adult_manual.HORN.items():
        joined[joined == horn] = ventricle
    assert case.truth is not None
    for one in quality.measure(case.image, case.mask, structures, norms, uncertainty=case.uncertainty):
        truth, found = case.truth == one.index, joined == one.index
        if truth.any() and one.score is not None and one.index != quality.FLUID:
            true = 2 * int((truth & found).sum()) / (int(truth.sum()) + int(found.sum()))
            yield level, one.index, one.score, true


def tighten(case: Case) -> Case:
    """Return the case cropped to brain and mask, with a margin for shifts."""
    both = case.structures.with_data(((case.structures.data != 0) | (case.mask.data > 0)).to(torch.int16))
    parts = [case.image, case.mask, case.structures]
    if case.truth is not None:
        parts.append(case.structures.with_data(torch.from_numpy(case.truth.astype(np.int16))))
    _, image, mask, structures, *truth = measures.crop(both, *parts, margin=24)
    return Case(
        case.name, image, mask, structures, case.uncertainty, truth[0].data.numpy() if truth else None
    )


def of_derivatives(folder: Path) -> Iterator[Case]:
    """Yield the participants of an earlier run."""
    for path in sorted(folder.glob("sub-*/**/anat/*_desc-aseg_dseg.nii.gz")):
        stem = str(path).removesuffix("_desc-aseg_dseg.nii.gz")
        files = sorted(path.parent.glob(f"{Path(stem).name}_desc-preproc_*.nii.gz"))
        if files:
            volumes = [
                _read(p, t)
                for p, t in ((files[0], "f4"), (f"{stem}_desc-brain_mask.nii.gz", "u1"), (path, "i2"))
            ]
            yield Case(f"{folder.name} {Path(stem).name}", *volumes, _uncertainty(stem))


def _uncertainty(stem: str) -> dict[int, float]:
    """Return the uncertainty of every structure; empty for files in a template space."""
    path = Path(f"{stem}_desc-aseg_volumes.tsv")
    if not path.is_file():
        return {}
    found = pd.read_csv(path, sep="\t").dropna(subset=["uncertainty"])
    return dict(zip(found["index"].astype(int), found["uncertainty"].astype(float), strict=True))


def _read(path: str | Path, dtype: str) -> Volume:
    image = nib.load(path)
    return Volume(torch.from_numpy(np.asarray(image.dataobj).astype(dtype)), np.asarray(image.affine, float))


def planted(case: Case, number: int) -> Iterator[tuple[str, Volume, Volume, np.ndarray]]:
    """Yield mask, structures and alignment with one failure each; ``number`` selects the direction."""
    matrix = case.matrix
    yield "none", case.mask, case.structures, matrix
    yield MASK, moved(case.mask, DIRECTIONS[number % 6]), case.structures, matrix
    swapped = corruption.apply(case.structures, "exchange", 1.0, np.random.default_rng(number))
    yield SWAP, case.mask, swapped, align(swapped)
    half, kept = (_halved(volume, number) for volume in (case.mask, case.structures))
    yield HALF, half, kept, align(kept)
    yield WRONG, case.mask, case.structures, _wrong(matrix, number)


def _halved(volume: Volume, number: int) -> Volume:
    """Return the volume with one half kept: by ``number`` right, front, top, left, back or bottom."""
    points = np.argwhere(volume.data.numpy() > 0)
    along = (points @ volume.affine[:3, :3].T)[:, number % 3] * (-1) ** (number // 3)
    out = volume.data.numpy().copy()
    out[tuple(points[along > np.median(along)].T)] = 0
    return volume.with_data(torch.from_numpy(out))


def _wrong(matrix: np.ndarray, number: int) -> np.ndarray:
    """Return the alignment rotated by 25 degrees, shifted by 2 cm, mirrored or scaled by 1.25."""
    change = np.eye(4)
    if number % 4 == 0:
        i, j = [(1, 2), (0, 2), (0, 1)][number % 3]
        angle = np.radians(25)
        change[[i, j], [i, j]] = np.cos(angle)
        change[i, j], change[j, i] = -np.sin(angle), np.sin(angle)
    elif number % 4 == 1:
        change[:3, 3] = DIRECTIONS[number % 6]
    elif number % 4 == 2:
        change[0, 0] = -1
    else:
        change[:3, :3] *= 1.25
    return change @ matrix


def rated(case: Case, norms: quality.Norms, mask: Volume, structures: Volume, matrix: np.ndarray) -> str:
    """Return the QC rating of a result."""
    measured = quality.measure(case.image, mask, structures, norms, uncertainty=case.uncertainty)
    return rating.rate(measured, mask, structures, norms=norms, plausible_ml=PLAUSIBLE, matrix=matrix).rating


def correlation(rows: list[tuple[str, int, float, float]]) -> tuple[float, float, float]:
    """Return rank correlation of expected and true Dice, its mean by structure, and the mean difference."""
    expected, true = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    ids = np.array([row[1] for row in rows])
    within = [stats.spearmanr(expected[ids == k], true[ids == k])[0] for k in np.unique(ids)]
    overall = float(stats.spearmanr(expected, true)[0]) if len(rows) > 2 else float("nan")
    return overall, float(np.nanmean(within)), float((expected - true).mean())


def report(rows: list[tuple[str, int, float, float]], ratings: dict[str, list[str]], scans: int) -> str:
    """Return the two tables."""
    lines = [["**all**", len(rows), *correlation(rows), *_means(rows)]]
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row[0]].append(row)
    for kind, found in by_kind.items():
        rho, _, difference = correlation(found)
        lines.append([kind, len(found), rho, float("nan"), difference, *_means(found)])
    head = [
        "corruption",
        "structures",
        "rank correlation",
        "within a structure",
        "expected - true",
        "expected",
        "true",
    ]
    table = []
    for kind, found in ratings.items():
        counts = [found.count(v) for v in ("pass", "check", "fail")]
        table.append([kind, len(found), *counts, f"{100 * (1 - counts[0] / len(found)):.0f} %"])
    rating_head = ["planted", "cases", "pass", "check", "fail", "flagged"]
    return (
        f"Expected against true Dice, {scans} scans with manual labels, as found, corrupted and degraded.\n\n"
        f"{tables.markdown(head, lines)}\n\n"
        f"Planted failures; every rating but pass is flagged.\n\n{tables.markdown(rating_head, table)}\n\n"
        f"{tables.stamp('head-coarse', 'skullstrip', 'segmentation')}"
    )


def _means(rows: list[tuple[str, int, float, float]]) -> tuple[float, float]:
    return float(np.mean([row[2] for row in rows])), float(np.mean([row[3] for row in rows]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder to store the results of the pipeline"
    )
    parser.add_argument(
        "--derivatives",
        type=Path,
        nargs="+",
        default=[],
        help="results of earlier runs, to plant failures in",
    )
    parser.add_argument("--each", type=int, default=1, help="levels of every kind of corruption")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    args = parser.parse_args(argv)
    args.cache.mkdir(parents=True, exist_ok=True)
    norms = quality.load("adult")
    if norms is None:
        raise SystemExit("there are no norms for the label table 'adult'")
    rows: list[tuple[str, int, float, float]] = []
    ratings: dict[str, list[str]] = defaultdict(list)
    found = adult_manual.cases(args.data)
    number = 0
    for name, image, labels in found:
        case = chain(image, args.cache, name)
        case.truth, _ = reference(labels)
        rows += _of_scan(tighten(case), norms, args.each)
        kind = KINDS[number % len(KINDS)]
        rng = np.random.default_rng(number)
        worse = chain(
            image, args.cache, f"{name}_{kind.replace(' ', '-')}", lambda v, k=kind, r=rng: degrade(v, k, r)
        )
        worse.truth = case.truth
        rows += scores(worse, norms, "image degraded", worse.structures)
        if number % 2:
            off = chain(image, args.cache, f"{name}_shifted", shift=DIRECTIONS[number % 6])
            ratings[BEFORE].append(rated(off, norms, off.mask, off.structures, off.matrix))
        _plant(tighten(case), norms, number, ratings)
        number += 1
    for folder in args.derivatives:
        for case in of_derivatives(folder):
            _plant(tighten(case), norms, number, ratings)
            number += 1
    text = report(rows, ratings, len(found))
    print(text)
    if args.out:
        tables.put(args.out, "quality", text)
    return 0


def _of_scan(case: Case, norms: quality.Norms, each: int) -> list[tuple[str, int, float, float]]:
    """Return the scores of a scan for every kind of corruption."""
    rng = np.random.default_rng(sum(map(ord, case.name)))
    out = []
    for kind, _, structures in corruption.graded(case.structures, rng, each):
        out += scores(case, norms, kind, structures)
    tables.say(f"{case.name}: rank correlation {correlation(out)[0]:.3f}")
    return out


def _plant(case: Case, norms: quality.Norms, number: int, ratings: dict[str, list[str]]) -> None:
    """Add the QC ratings of a case, unchanged and with planted failures."""
    for kind, mask, structures, matrix in planted(case, number):
        ratings[kind].append(rated(case, norms, mask, structures, matrix))
    tables.say(f"{case.name}: " + ", ".join(f"{kind} {found[-1]}" for kind, found in ratings.items()))


if __name__ == "__main__":
    raise SystemExit(main())
