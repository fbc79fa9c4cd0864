"""Score the program's segmentation on scans with manual labels: Dice and surface distance.

``python benchmarks/adult_manual.py DATA [--out benchmarks/README.md]`` where DATA holds, for every
``sub-*``, one T1w image and one ``*_dseg.nii.gz`` with Neuromorphometrics labels, held out from training.

The headline is the mean over sixteen structures; a structure with two sides counts with their mean. The
temporal horn counts as part of the lateral ventricle in both label maps, because the two protocols
separate it at different places; the table also has the ventricle without it. Structures of the
Neuromorphometrics protocol without a label in ours (vermis, optic chiasm, basal forebrain, vessels) are
not scored: see ``training/sources/neuromorphometrics.tsv``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tables

from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.pipeline import process
from brainseg.training.evaluation import segmentation as evaluate

HEADLINE = {
    "cerebral white matter": (2, 41),
    "cerebral cortex": (3, 42),
    "lateral ventricle": (4, 43),
    "cerebellar white matter": (7, 46),
    "cerebellar cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "3rd ventricle": (14,),
    "4th ventricle": (15,),
    "brainstem": (16,),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "accumbens": (26, 58),
    "ventral DC": (28, 60),
}
SEPARATE = {"lateral ventricle without temporal horn": (104, 143), "temporal horn": (105, 144)}
HORN = {5: 4, 44: 43}


def run(path: Path, likelihood: bool = True) -> tuple[Volume, dict]:
    """Return the structures of a scan by the program's own stages, and facts of the run."""
    return run_volume(conform.read(path), likelihood)


def run_volume(scan: Volume, likelihood: bool = True) -> tuple[Volume, dict]:
    """Return the same as :func:`run` for a scan in memory."""
    began = time.monotonic()
    done = process.process(scan, likelihood=likelihood)
    brain, found = done.brain, done.segmentation
    return found.structures, {
        "stripped": brain.stripped,
        "seconds": time.monotonic() - began,
        "notes": found.notes,
    }


def score(reference: Path, found: Volume, surfaces: bool = True) -> dict[str, tuple[float, float]]:
    """Return Dice and HD95 (mm) by structure, mean of both sides."""
    return score_volumes(evaluate.read_labels(reference), found.canonical(), reference, surfaces)


def score_volumes(
    truth: Volume, found: Volume, reference: Path, surfaces: bool = True
) -> dict[str, tuple[float, float]]:
    """Return the same as :func:`score` for volumes in canonical orientation."""
    if truth.grid.shape != found.grid.shape or not np.allclose(truth.affine, found.affine, atol=1e-2):
        raise SystemExit(f"{reference}: the grid differs from that of the image")
    mapping = evaluate.read_mapping("neuromorphometrics")
    apart = evaluate.compare(truth, found, path=reference, mapping=mapping, surfaces=surfaces)
    whole = evaluate.Mapping(mapping.name, {k: HORN.get(v, v) for k, v in mapping.structure.items()})
    joined = found.data.clone()
    for horn, ventricle in HORN.items():
        joined[joined == horn] = ventricle
    together = evaluate.compare(
        truth, found.with_data(joined), path=reference, mapping=whole, surfaces=surfaces
    )
    rows = {row["index"]: row for row in together}
    # Ids of the parts of the ventricle, separate from the id of the whole.
    rows |= {row["index"] + 100: row for row in apart if row["index"] in (4, 5, 43, 44)}
    out = {}
    for name, ids in (HEADLINE | SEPARATE).items():
        sides = [rows[i] for i in ids if i in rows] or [{"dice": np.nan, "hd95_mm": np.nan}]
        out[name] = tuple(float(np.mean([side[k] for side in sides])) for k in ("dice", "hd95_mm"))
    return out


def figures(path: Path, reference: Path, found: Volume, out: Path) -> None:
    """Draw three views with contours of the truth (white) and of the prediction (red)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    image = conform.read(path).canonical().data.numpy()
    truth = evaluate.read_labels(reference)
    mapped = evaluate.read_mapping("neuromorphometrics").apply(truth.data.numpy(), reference)
    labels = found.canonical().data.numpy()
    figure, axes = plt.subplots(3, 5, figsize=(20, 13), facecolor="black")
    edges = [np.nonzero((labels > 0).any(tuple(a for a in range(3) if a != k)))[0][[0, -1]] for k in range(3)]
    for row, axis in zip(axes, range(3), strict=True):
        low, high = edges[axis]
        for panel, where in zip(row, np.linspace(low, high, 7)[1:-1].astype(int), strict=True):
            panel.imshow(image.take(where, axis).T, origin="lower", cmap="gray")
            for volume, contour in ((mapped, "white"), (labels, "red")):
                shown = volume.take(where, axis).T
                for value in np.unique(shown[shown > 0]):
                    panel.contour(shown == value, [0.5], colors=contour, linewidths=0.6)
            panel.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{path.name.split('_')[0]}.png", dpi=70, facecolor="black")
    plt.close(figure)


def report(scores: dict[str, dict[str, tuple[float, float]]], stage: str, surfaces: bool) -> str:
    """The tables."""
    dice = pd.DataFrame({case: {k: v[0] for k, v in s.items()} for case, s in scores.items()})
    far = pd.DataFrame({case: {k: v[1] for k, v in s.items()} for case, s in scores.items()})
    names = list(HEADLINE)
    headline = dice.loc[names].mean()
    rows = [["**headline mean**", f"**{headline.mean():.3f}**", far.loc[names].mean().mean(), *headline]]
    rows += [[k, dice.loc[k].mean(), far.loc[k].mean(), *dice.loc[k]] for k in names]
    rows += [[f"({k})", dice.loc[k].mean(), far.loc[k].mean(), *dice.loc[k]] for k in SEPARATE]
    header = ["structure", "Dice", "HD95 (mm)", *(case.removeprefix("sub-") for case in dice.columns)]
    if not surfaces:
        rows, header = [row[:2] + row[3:] for row in rows], header[:2] + header[3:]
    what = "chain" if stage == "chain" else "network alone, without the fit to the scan's intensities"
    return (
        f"Manual labels, {len(scores)} scans, {what}. Dice by scan in the columns on the right.\n\n"
        f"{tables.markdown(header, rows)}\n\n{tables.stamp('head-coarse', 'skullstrip', 'segmentation')}"
    )


def cases(data: Path) -> list[tuple[str, Path, Path]]:
    """Return name, image and manual labels of every scan."""
    out = []
    for folder in sorted(data.glob("sub-*")):
        images = sorted(folder.rglob("*_T1w.nii.gz"))
        references = sorted(folder.rglob("*_dseg.nii.gz"))
        if len(images) != 1 or len(references) != 1:
            raise SystemExit(
                f"{folder}: {len(images)} T1w images and {len(references)} dseg; keep one of each"
            )
        out.append((folder.name, images[0], references[0]))
    if not out:
        raise SystemExit(f"{data}: no sub-* folder; give the folder that contains them")
    return out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--figures", type=Path, help="folder for one figure per scan")
    parser.add_argument("--stage", choices=("chain", "network"), default="chain", help="scored segmentation")
    parser.add_argument("--no-surfaces", action="store_true", help="Dice only, faster")
    parser.add_argument("--participant-label", nargs="+", help="only these scans")
    args = parser.parse_args(argv)
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in args.participant_label or []}
    scores = {}
    for name, image, reference in cases(args.data):
        if wanted and name not in wanted:
            continue
        found, facts = run(image, likelihood=args.stage == "chain")
        scores[name] = score(reference, found, not args.no_surfaces)
        mean = np.nanmean([scores[name][k][0] for k in HEADLINE])
        tables.say(
            f"{name} Dice {mean:.3f}, {facts['seconds']:.0f} s, "
            f"stripped: {facts['stripped']} {' '.join(facts['notes'])}"
        )
        if args.figures:
            figures(image, reference, found, args.figures)
    if not scores:
        raise SystemExit("none of the selected scans exists")
    text = report(scores, args.stage, not args.no_surfaces)
    print(text)
    if args.out:
        tables.put(args.out, f"adult_manual {args.stage}", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
