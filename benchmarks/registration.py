"""Registration of scans with manual labels to each other and to the template, against SyN of ANTs.

``python benchmarks/registration.py DATA [--pairs N] [--ants N] [--out benchmarks/README.md]``: all ordered
pairs of the scans in DATA (see ``adult_manual.py``), or N of them spread over all. The manual labels of one
scan are carried onto the other, and compared by structure as ``adult_manual.py`` does. CPU time is that of
the registration alone, from images and segmentations that the chain has made (its time is told too); SyN
gets the images as they are, which are skull-stripped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import adult_manual
import numpy as np
import tables
import torch

from brainseg.models import bias, conform, reference, registration, segmentation, skullstrip
from brainseg.models.registration import Anatomy
from brainseg.models.volume import Volume
from brainseg.training import evaluate

COLUMNS = ("Dice", "folds (%)", "inverse consistency (mm)", "CPU (s)")


def anatomy(path: Path, cache: Path | None) -> tuple[Anatomy, float]:
    """A scan with what the chain finds in it, and the CPU seconds of that (NaN if it was kept)."""
    kept = cache / f"{path.name.split('_')[0]}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept) as arrays:
            affine = arrays["affine"]
            made = {k: Volume(torch.from_numpy(arrays[k]), affine) for k in ("img", "mask", "seg")}
            maps = {
                k: Volume(torch.from_numpy(p).float(), affine)
                for k, p in zip(segmentation.DSEG_NAMES, arrays["prob"], strict=True)
            }
        return reference.anatomy(made["img"], made["mask"], made["seg"], maps), float("nan")
    began = time.process_time()
    scan = conform.read(path)
    brain = skullstrip.skullstrip(scan, mode="auto")
    corrected, _ = bias.correct(scan, brain.mask)
    found = segmentation.segment(corrected, brain.mask)
    seconds = time.process_time() - began
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        maps = np.stack([found.probabilities[k].data.numpy() for k in segmentation.DSEG_NAMES])
        arrays = {"img": corrected.data, "mask": brain.mask.data, "seg": found.structures.data}
        stored = {k: v.numpy() for k, v in arrays.items()}
        np.savez_compressed(kept, affine=corrected.affine, prob=maps.astype(np.float16), **stored)
    return reference.anatomy(corrected, brain.mask, found.structures, found.probabilities), seconds


def truth(path: Path) -> Volume:
    """Manual labels as ours, the temporal horn as a part of the ventricle."""
    mapping = evaluate.read_mapping("neuromorphometrics")
    whole = {k: adult_manual.HORN.get(v, v) for k, v in mapping.structure.items()}
    read = evaluate.read_labels(path)
    labels = evaluate.Mapping(mapping.name, whole).apply(read.data.numpy(), path)
    return read.with_data(torch.from_numpy(np.ascontiguousarray(labels).astype(np.int16)))


def dice(expected: Volume, found: Volume) -> float:
    """Mean over the headline's structures, each the mean of its sides."""
    a, b = expected.data.numpy(), found.data.numpy()
    scores = []
    for ids in adult_manual.HEADLINE.values():
        sides = [2 * ((a == i) & (b == i)).sum() / max(1, (a == i).sum() + (b == i).sum()) for i in ids]
        scores.append(np.mean(sides))
    return float(np.mean(scores))


def consistency(found: registration.RegistrationResult, fixed: Anatomy) -> float:
    """Mean distance (mm) of the brain's points from where they come back to."""
    inside = np.argwhere(fixed.mask.data.numpy() > 0)[::97]
    points = inside @ fixed.mask.affine[:3, :3].T + fixed.mask.affine[:3, 3]
    return float(np.linalg.norm(found.inverse.points(found.forward.points(points)) - points, axis=1).mean())


def folds(found: registration.RegistrationResult, fixed: Anatomy) -> float:
    """Share of the brain's voxels (1 mm) where space folds, in percent."""
    change = found.forward.jacobian(fixed.image.grid).data[fixed.mask.data > 0]
    return 100 * float((change <= 0).float().mean())


def measure(
    register: Callable, moving: Anatomy, fixed: Anatomy, labels: tuple[Volume, Volume | None]
) -> list[float]:
    """Dice, folds, inverse consistency and CPU time of one registration.

    Without manual labels of the fixed image they go there and back.
    """
    began = time.process_time()
    found = register(moving, fixed)
    seconds = time.process_time() - began
    moved = found.forward.resample(labels[0], fixed.image.grid, "nearest")
    if labels[1] is None:
        moved = found.inverse.resample(moved, labels[0].grid, "nearest")
        score = dice(labels[0], moved)
    else:
        score = dice(labels[1], found.forward.resample(labels[0], labels[1].grid, "nearest"))
    return [score, folds(found, fixed), consistency(found, fixed), seconds]


def plain_syn(moving: Anatomy, fixed: Anatomy) -> registration.RegistrationResult:
    """antspyx's SyN with its default settings, nothing of ours to begin from."""
    from brainseg.models import syn

    nowhere = registration.align(moving.centroids, fixed)
    return syn.register(moving, fixed, nowhere, start=False)


ENGINES = {
    "affine": lambda a, b: registration.register(a, b, engine="none"),
    "deep": lambda a, b: registration.register(a, b),
    "SyN": plain_syn,
}


def spread(pairs: list, count: int | None) -> list:
    """``count`` of the pairs, evenly among all."""
    if not count or count >= len(pairs):
        return pairs
    return [pairs[round(i)] for i in np.linspace(0, len(pairs) - 1, count)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("--pairs", type=int, help="ordered pairs of scans (default: all)")
    parser.add_argument("--ants", type=int, help="how many of these SyN does too (default: all)")
    parser.add_argument("--template", type=int, default=0, help="how many scans go to the template and back")
    parser.add_argument("--cache", type=Path, help="folder that keeps what the chain found in the scans")
    parser.add_argument("--out", type=Path, help="page that gets the table, between its markers")
    args = parser.parse_args(argv)
    cases = {name: (image, labels) for name, image, labels in adult_manual.cases(args.data)}
    made: dict[str, tuple[Anatomy, Volume]] = {}
    chain: list[float] = []

    def case(name: str) -> tuple[Anatomy, Volume]:
        if name not in made:
            found, seconds = anatomy(cases[name][0], args.cache)
            chain.append(seconds)
            made[name] = found, truth(cases[name][1])
        return made[name]

    pairs = spread(list(permutations(cases, 2)), args.pairs)
    by_syn = set(spread(pairs, len(pairs) if args.ants is None else args.ants)) if args.ants != 0 else set()
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for pair in pairs:
        (moving, own), (fixed, other) = (case(name) for name in pair)
        for engine, register in ENGINES.items():
            if engine == "SyN" and pair not in by_syn:
                continue
            found = measure(register, moving, fixed, (own, other))
            rows.setdefault(("pairs", engine), []).append(found)
            if pair in by_syn:
                rows.setdefault(("pairs that SyN did too", engine), []).append(found)
            values = ", ".join(f"{k} {v:.4g}" for k, v in zip(COLUMNS, found, strict=True))
            tables.say(f"{' to '.join(pair)} {engine}: {values}")
    template = reference.load(reference.spaces.DEFAULT)
    for name in spread(list(cases), args.template) if args.template else []:
        moving, own = case(name)
        found = measure(ENGINES["deep"], moving, template, (own, None))
        rows.setdefault(("to the template and back", "deep"), []).append(found)
    text = report(rows, chain)
    print(text)
    if args.out:
        tables.put(args.out, "registration", text)
    return 0


def report(rows: dict[tuple[str, str], list[list[float]]], chain: list[float]) -> str:
    """The table."""
    lines = []
    for (what, engine), values in rows.items():
        if engine == "SyN" and what == "pairs":
            continue
        mean = np.array(values).mean(0)
        lines.append([f"{what}: {engine}", str(len(values)), *(float(v) for v in mean)])
    told = ""
    if np.isfinite(chain).any():
        told = f" What the chain makes of a scan before that takes {np.nanmean(chain):.0f} CPU s."
    return (
        "Manual labels of one scan carried onto another; means over all registrations." + told + "\n\n"
        f"{tables.markdown(['registration', 'n', *COLUMNS], lines, digits=4)}\n\n"
        f"{tables.stamp('head-coarse', 'segmentation')}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
