"""Score tissues against the manual labels of IBSR18: the program as it is, and networks trained on IBSR18.

``python benchmarks/ibsr18.py DATA [NAME=FILE ...] [--effort fast accurate] [--out PAGE [--table NAME]]``
where DATA holds, for every ``sub-*``, one stripped T1w image and one ``*_dseg.nii.gz`` (1 CSF, 2 GM, 3 WM)
that no network saw in training. ``NAME=FILE`` are networks of the recipes ``ibsr18-*``, as ``brainseg train``
writes them; each runs as with ``--network segmentation=FILE``.

The CSF of this protocol is mostly that of the ventricles: most of the fluid around the brain is background.
The tissues of the program have all fluid inside the brain mask, so its Dice of CSF says little.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tables
import torch
from adult_manual import cases

from brainseg.models.data import model_files
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import conform
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.models.segmentation.own import labels as own
from brainseg.models.segmentation.own import tissues
from brainseg.models.segmentation.own.inputs import as_acquired, sees_tissues
from brainseg.training.evaluation.label_files import read_labels
from brainseg.training.evaluation.metrics import agreement, surface_distances

TISSUES = {"CSF": 1, "GM": 2, "WM": 3}
"""Labels of IBSR18 by the names of the tissues of a dseg."""

TABLES = ("ibsr18", "ibsr18_tissues")
"""Tables of the page: networks that see the image, and those that see the program's tissues, too."""

PUBLISHED = (
    ("published, 2D ensemble, 5 scans", 0.921, 0.944, 0.941, 0.935),
    ("published, volume, 5 scans", 0.904, 0.936, 0.927, 0.922),
    ("published, ensemble of patches, 5 scans", 0.931, 0.952, 0.947, 0.943),
)
"""Dice of CSF, GM, WM and their mean, as the system with these three designs gives them for other scans."""


def score(truth: np.ndarray, dseg: np.ndarray, spacing: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Return Dice, HD95 and HD (mm) by tissue.

    Parameters
    ----------
    truth : ndarray of int, shape (X, Y, Z)
        Labels of IBSR18.
    dseg : ndarray of int, shape (X, Y, Z)
        1 GM, 2 WM, 3 CSF.
    spacing : ndarray, shape (3,)
        Voxel size (mm).
    """
    out = {}
    for name, index in TISSUES.items():
        a, b = truth == index, dseg == labels.DSEG_NAMES.index(name) + 1
        found = agreement(a, b, spacing)
        far = max(d.max() for d in surface_distances(a, b, spacing)) if a.any() and b.any() else np.nan
        out[name] = (found.dice, found.hd95_mm, float(far))
    return out


def row(name: str, effort: str) -> str:
    """Return the name of a row of the table.

    Examples
    --------
    >>> row("mine", "fast"), row("mine", "accurate")
    ('mine', 'mine, --effort accurate')
    """
    return name if effort == "fast" else f"{name}, --effort {effort}"


def minutes(network: str) -> str:
    """Return the training time of a network by its card, with that of the networks that it began from."""
    card = json.loads(Path(network).with_suffix(".json").read_text())
    hours = [one.get("hours") for one in (card, *card.get("begun_from", []))]
    return "–" if None in hours else f"{60 * sum(hours):.0f}"


def report(scores: dict[str, list[dict[str, tuple[float, float, float]]]], times: dict[str, str]) -> str:
    """Return the table: mean over the scans, the published figures last."""
    rows: list[list[object]] = []
    for name, every in scores.items():
        means = {tissue: np.mean([one[tissue] for one in every], 0) for tissue in TISSUES}
        dice = [float(means[tissue][0]) for tissue in TISSUES]
        far = [float(means[tissue][k]) for k in (1, 2) for tissue in TISSUES]
        hd = [float(np.mean(far[:3])), float(np.mean(far[3:]))]
        rows.append([name, times.get(name, "–"), *dice, f"**{np.mean(dice):.3f}**", *far[:3], *hd])
    rows += [[name, "–", *dice[:3], f"{dice[3]:.3f}", *[float("nan")] * 5] for name, *dice in PUBLISHED]
    head = ["network", "training (min)", *(f"{name} Dice" for name in TISSUES), "mean"]
    return tables.markdown([*head, *(f"{name} HD95" for name in TISSUES), "HD95 (mm)", "HD (mm)"], rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("networks", nargs="*", metavar="NAME=FILE", help="networks trained on IBSR18")
    efforts = ("fast", "accurate")
    parser.add_argument("--effort", nargs="+", choices=efforts, default=["fast"], help="of the networks")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument(
        "--table", choices=TABLES, default=TABLES[0], help="that table (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    networks = dict(text.split("=", 1) for text in args.networks)
    zero = "as shipped (zero-shot)"
    times = {row(name, effort): minutes(file) for name, file in networks.items() for effort in args.effort}
    scores: dict[str, list[dict[str, tuple[float, float, float]]]] = {name: [] for name in (zero, *times)}
    found = cases(args.data)
    for case, image, reference in found:
        done = process.process(conform.read(image))
        truth = read_labels(reference)
        values = np.array(list(labels.DSEG.values()))[done.segmentation.tissue.data.numpy()]
        seen: dict[str, Volume] = {zero: done.scan.with_data(torch.from_numpy(values))}
        for name, file in networks.items():
            card = model_files.read_card(file)
            image = done.scan if as_acquired(card) else done.corrected
            found_by_us = done.segmentation.probabilities, done.segmentation.structures
            given = tissues.channels(*found_by_us) if sees_tissues(card) else []
            for effort in args.effort:
                made = own.segment(image, done.brain.mask, file, effort=effort, tissues=given)
                if made.dseg is None:
                    raise SystemExit(f"{file}: its labels have no gray and white matter")
                seen[row(name, effort)] = made.dseg
        for name, dseg in seen.items():
            values = dseg.canonical().data.numpy()
            scores[name].append(score(truth.data.numpy(), values, truth.grid.spacing))
            dice = " ".join(f"{t} {s[0]:.3f}" for t, s in scores[name][-1].items())
            tables.say(f"{case}, {name}: {dice}")
    text = (
        f"Manual labels of IBSR18, {len(found)} scans that no network saw, mean of the scans by tissue.\n\n"
        + report(scores, times)
        + f"\n\n{tables.stamp('head-coarse', 'segmentation')}"
    )
    print(text)
    if args.out:
        tables.put(args.out, args.table, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
