"""Score fetal brains, upright and rotated at random: Dice, HD95 and Euler number by tissue.

``python benchmarks/fetal.py DATA [--out benchmarks/README.md]`` where DATA holds, for every ``sub-*``, one
T2w image and one ``*_dseg.nii.gz`` in the labels of ``training/sources/fetal.tsv``, held out from training.
The gestational age is in the name (``sub-wu24``). Images pass through the program's own stages. The rotated
copies have the same voxels and a uniformly random rotation in the affine, so that only the position
differs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import tables
import torch

from brainseg.interfaces import registration as stage
from brainseg.models.deformation.diffeomorphic import Options
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.pipeline import process
from brainseg.models.population import growth, labels, populations
from brainseg.models.registration import reference, registration
from brainseg.models.registration.result import Anatomy
from brainseg.models.segmentation.result import SegmentationResult
from brainseg.models.templates import spaces
from brainseg.training.evaluation import metrics
from brainseg.training.fetal.source_labels import read_table
from brainseg.training.synthesis.rotation import any_rotation

NAMES = {
    24: "extra-axial CSF",
    3: "cortical gray matter",
    2: "white matter",
    4: "ventricles",
    6: "cerebellum",
    9: "deep gray matter",
    16: "brainstem",
}


def euler(mask: np.ndarray) -> int:
    """Return the Euler number of a mask (26-connected): components minus handles plus cavities.

    Examples
    --------
    >>> ring = np.ones((3, 3, 1), bool); ring[1, 1] = False
    >>> euler(np.ones((2, 2, 2), bool)), euler(ring)
    (1, 0)
    """
    padded = np.pad(mask, 1)
    total = 0
    for along in np.ndindex(2, 2, 2):
        # Cells of every dimension of the cubical complex; a cell exists if a voxel around it does.
        there = padded
        for axis, spans in enumerate(along):
            if not spans:
                lower, upper = (
                    np.take(there, r, axis) for r in (_span(there, axis, 0), _span(there, axis, 1))
                )
                there = lower | upper
        total += (-1) ** sum(along) * int(there.sum())
    return total


def _span(array: np.ndarray, axis: int, first: int) -> range:
    return range(first, array.shape[axis] - 1 + first)


def run(scan: Volume, record: populations.Population) -> tuple[SegmentationResult, Volume, Volume, float]:
    """Return segmentation, brain mask, corrected scan and CPU time (s), by the program's own stages."""
    began = time.process_time()
    done = process.process(scan, record, label_table=record.labels)
    return done.segmentation, done.brain.mask, done.corrected, time.process_time() - began


def alignment(
    scan: Volume, mask: Volume, found: SegmentationResult, truth: np.ndarray, weeks: float,
    record: populations.Population,
) -> dict:  # fmt: skip
    """Return the overlap of the scan's labels with those of the template of its age, in both directions.

    The program's segmentation drives the registration; the labels compared are manual ones and those of the
    template.
    """
    age = {"age": weeks, "unit": record.age_unit}
    space = stage.with_cohort(record.template, record.name, age, found.volumes)
    fixed = reference.load(space)
    moving = Anatomy(scan, mask, found.structures, found.centroids, found.probabilities)
    began = time.process_time()
    options = Options().finer(**record.registration) if record.registration else None
    result = registration.register(moving, fixed, options=options)
    seconds = time.process_time() - began
    known = labels.load(record.labels)
    unsided = np.array(known.unsided)[known.lookup("unsided")]
    reference_labels = read_table()["structure"][truth].astype(np.int16)
    manual = scan.with_data(torch.from_numpy(reference_labels))
    there = result.forward.resample(manual, fixed.image.grid, "nearest").data.numpy()
    back = unsided[result.inverse.resample(fixed.structures, scan.grid, "nearest").data.numpy()]
    own = unsided[fixed.structures.data.numpy()]
    pairs = {"there": (own, there), "back": (manual.data.numpy(), back)}
    out = {
        name: {k: metrics.agreement(a == k, b == k, surfaces=False).dice for k in NAMES}
        for name, (a, b) in pairs.items()
    }
    return out | {"cohort": spaces.parse(space).cohort, "folds": result.folds, "cpu": seconds}


def turned(scan: Volume, seed: int) -> Volume:
    """Return the scan with a random rotation in its affine."""
    torch.manual_seed(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = any_rotation().numpy()
    return Volume(scan.data, matrix @ scan.affine)


def score(found: SegmentationResult, mask: Volume, truth: np.ndarray, table: str) -> dict:
    """Return the scores of every tissue, and Dice of the brain."""
    known = labels.load(table)
    predicted = np.array(known.unsided)[known.lookup("unsided")[found.structures.data.numpy()]]
    reference = read_table()["structure"][truth]
    spacing = tuple(found.structures.grid.spacing)
    out = {}
    for index in NAMES:
        a, b = reference == index, predicted == index
        if not a.any():
            continue
        figures = metrics.agreement(a, b, spacing)
        out[index] = {
            "dice": figures.dice,
            "hd95": figures.hd95_mm,
            "euler": euler(b),
            "true euler": euler(a),
        }
    out["brain"] = {"dice": metrics.agreement(reference > 0, mask.data.numpy() > 0, surfaces=False).dice}
    return out


def mean(by_tissue: dict[int, float]) -> float:
    """Return the mean over the tissues."""
    return float(np.mean(list(by_tissue.values())))


def mean_dice(scores: dict) -> float:
    """Return the mean over the tissues."""
    return float(np.mean([v["dice"] for k, v in scores.items() if k in NAMES]))


def report(rows: list[dict]) -> str:
    """Return the tables by subject, and by tissue for each group of subjects."""
    by_subject = [
        [r["name"], r["dice"], r["turned"], r["brain"], r["weeks"], r["estimated"], r["seconds"]]
        for r in rows
    ]
    text = tables.markdown(
        ["subject", "Dice", "Dice, turned", "brain mask", "weeks", "weeks, estimated", "CPU (s)"], by_subject
    )
    text += "\n\n" + on_templates(rows)
    for group in sorted({r["group"] for r in rows}):
        own = [r for r in rows if r["group"] == group]
        lines = []
        for index, name in NAMES.items():
            each = pd.DataFrame([r["scores"][index] for r in own if index in r["scores"]])
            lines.append([name, *(each[c].mean() for c in ("dice", "hd95", "euler", "true euler"))])
        mean = [np.mean([r["dice"] for r in own]), np.mean([line[2] for line in lines])]
        lines.append(["**mean**", *mean, float("nan"), float("nan")])
        header = [f"{group}, {len(own)} subjects", "Dice", "HD95 (mm)", "Euler number", "of the reference"]
        text += "\n\n" + tables.markdown(header, lines)
        fall = [r["dice"] - r["turned"] for r in own if r["turned"] == r["turned"]]
        age = [abs(r["estimated"] - r["weeks"]) for r in own if r["estimated"] == r["estimated"]]
        if fall:
            text += f"\n\nLoss by rotation: {np.mean(fall):.3f} on average, {max(fall):.3f} at most."
        if age:
            text += f"\nError of the age: {np.mean(age):.2f} weeks on average, {max(age):.2f} at most."
    return text


def on_templates(rows: list[dict]) -> str:
    """Return the table of the alignment with the template of the age."""
    names = list(NAMES.values())
    lines = []
    groups = {r["group"]: [x for x in rows if x["group"] == r["group"]] for r in rows}
    for label, own in [(r["name"], [r]) for r in rows] + [(f"**{g}**", o) for g, o in groups.items()]:
        found = [r["aligned"] for r in own]
        cohort = found[0]["cohort"] if len(own) == 1 else "–"
        each = [np.mean([f["there"][k] for f in found]) for k in NAMES]
        both = [np.mean([mean(f[way]) for f in found]) for way in ("there", "back")]
        more = [100 * np.mean([f["folds"] for f in found]), np.mean([f["cpu"] for f in found])]
        lines.append([label, cohort, both[0], *each, both[1], *more])
    header = [
        "subject",
        "cohort",
        "Dice on the template",
        *names,
        "Dice on the subject",
        "folds (%)",
        "CPU (s)",
    ]
    return tables.markdown(header, lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every subject")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--participant-label", nargs="+", help="only these subjects")
    parser.add_argument("--no-turned", action="store_true", help="upright only, faster")
    args = parser.parse_args(argv)
    record = populations.load("fetal")
    rows = []
    for number, folder in enumerate(sorted(args.data.glob("sub-*"))):
        label = folder.name.removeprefix("sub-")
        if args.participant_label and label not in args.participant_label:
            continue
        scan = conform.read(next(folder.rglob("*_T2w.nii.gz")))
        truth = np.asarray(nib.load(next(folder.rglob("*_dseg.nii.gz"))).dataobj).astype(int)
        found, mask, corrected, seconds = run(scan, record)
        scores = score(found, mask, truth, record.labels)
        weeks = float("".join(c for c in label if c.isdigit()))
        estimated = growth.load(record.growth).estimate(found.volumes, record.labels) or float("nan")
        again = float("nan")
        if not args.no_turned:
            other, other_mask, *_ = run(turned(scan, number), record)
            again = mean_dice(score(other, other_mask, truth, record.labels))
        row = {"name": label, "group": label.rstrip("op").rstrip("0123456789"), "scores": scores}
        row["aligned"] = alignment(corrected, mask, found, truth, weeks, record)
        row |= {"dice": mean_dice(scores), "turned": again, "brain": scores["brain"]["dice"]}
        rows.append(row | {"weeks": weeks, "estimated": estimated, "seconds": seconds})
        tables.say(
            f"{label} Dice {row['dice']:.3f}, rotated {again:.3f}, on the template "
            f"{mean(row['aligned']['there']):.3f}, {estimated:.1f} weeks, {seconds:.0f} s"
        )
    if not rows:
        raise SystemExit(f"{args.data}: none of the selected subjects exists")
    text = report(rows) + "\n\n" + tables.stamp(*dict.fromkeys(record.networks))
    print(text)
    if args.out:
        tables.put(args.out, "fetal", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
