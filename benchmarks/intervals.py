"""Coverage of the intervals of volumes, by structure.

``python benchmarks/intervals.py [--heads HEADS] [--real DATA] [--out benchmarks/README.md]`` where HEADS are
held-out whole-head label maps as for ``contrasts.py``, and DATA holds real heads as for ``real_heads.py``.
Left and right count separately. The truth of real heads is FreeSurfer's segmentation, whose errors count as
ours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import contrasts
import numpy as np
import real_heads
import tables

from brainseg.models.geometry.interval import LENGTH, WIDTH
from brainseg.models.geometry.volume import Volume
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.training.data import prepare

LEAST = 300.0
"""Smallest true volume (mm3) of a structure that is scored."""

OUTER_CSF = 24
"""Its border around the brain is defined differently; it is not scored."""

DRAWN = ("T1w", "T2w", "FLAIR")
SYNTHETIC, REAL = "synthetic", "real"


class Case(NamedTuple):
    """A volume with its interval and the truth (mm3)."""

    structure: str
    volume: float
    low: float
    high: float
    truth: float

    @property
    def error(self) -> float:
        """Error of the volume in standard deviations; the lower end may be cut off at zero."""
        return WIDTH * (self.volume - self.truth) / max(self.high - self.volume, 1e-6)


def cases(scan: Volume, truth: np.ndarray, voxel_mm3: float) -> list[Case]:
    """Return the volumes of a scan's structures with their intervals and true volumes."""
    found = process.process(scan).segmentation
    counts = dict(zip(*np.unique(truth, return_counts=True), strict=True))
    out = []
    for label in labels.load("adult"):
        size = int(counts.get(label.index, 0)) * voxel_mm3
        if label.index in (0, OUTER_CSF) or size < LEAST:
            continue
        name = label.name.removeprefix("Left-").removeprefix("Right-").replace("-", " ")
        volume = found.volumes.get(label.index, 0.0)
        out.append(Case(name, volume, *found.intervals.get(label.index, (volume, volume)), size))
    return out


def synthetic(heads: Path, count: int) -> Iterator[list[Case]]:
    """Yield the volumes of synthetic heads."""
    for number in range(count):
        for contrast in DRAWN:
            one = contrasts.head(heads, number, contrast)
            yield cases(one.scan, one.structures, 1.0)


def real(data: Path, names: list[str]) -> Iterator[list[Case]]:
    """Yield the volumes of real heads."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted([*data.glob("sub-*_T1.mgz"), *data.glob("sub-*_T1.nii.gz")]):
            name = path.name.split("_")[0]
            if names and name.removeprefix("sub-") not in names:
                continue
            truth = real_heads.read(data / f"{name}_aseg.mgz")
            scan = real_heads.scan_of(path, Path(folder))
            yield cases(scan, truth.data.numpy(), truth.grid.voxel_volume)


def covered(found: list[Case], width: float = WIDTH) -> float:
    """Return the share of true volumes within so many standard deviations; NaN without volumes."""
    return float(np.mean([abs(one.error) <= width for one in found])) if found else float("nan")


def row(name: str, by_kind: dict[str, list[Case]]) -> list[Any]:
    """Return a row: half width, and by kind of head mean error and coverage."""
    every = [one for found in by_kind.values() for one in found]
    half = 100 * float(np.mean([(one.high - one.volume) / max(one.volume, 1.0) for one in every]))
    out: list[Any] = [name, f"{half:.0f}"]
    for found in by_kind.values():
        error = float(np.mean([100 * (one.volume / one.truth - 1) for one in found])) if found else np.nan
        inside = sum(abs(one.error) <= WIDTH for one in found)
        out += [f"{error:+.0f}" if found else "–", f"{inside} of {len(found)}" if found else "–"]
    return out


def report(scores: dict[str, list[list[Case]]]) -> str:
    """Return the tables."""
    flat = {kind: [one for head in scores[kind] for one in head] for kind in scores}
    names = dict.fromkeys(one.structure for found in flat.values() for one in found)
    rows = [row(n, {k: [one for one in f if one.structure == n] for k, f in flat.items()}) for n in names]
    header = ["structure", "half width (%)"]
    for kind in flat:
        header += [f"{kind}: error (%)", f"{kind}: covered"]
    overall = [
        [kind, len(scores[kind]), len(found), 100 * covered(found), 100 * covered(found, 1.0)]
        + [float(np.median(np.abs([one.error for one in found])))]
        for kind, found in flat.items()
        if found
    ]
    summary = tables.markdown(
        ["heads", "number", "volumes", "95 % covers (%)", "68 % covers (%)", "median error (SD)"], overall, 1
    )
    return (
        f"{summary}\n\nCorrelation length {LENGTH:g} mm. Synthetic: {', '.join(DRAWN)} of held-out label "
        "maps, with skull. Real: T1-weighted heads, truth by FreeSurfer. Outer CSF is left out.\n\n"
        "By structure, with the mean error of the volume and the number of 95 % intervals with the truth:\n\n"
        f"{tables.markdown(header, rows)}\n\n"
        f"{tables.stamp('head-coarse', 'deepbet', 'skullstrip', 'segmentation')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=Path, help="prepared arrays (.npz), or a folder of label maps")
    parser.add_argument("--real", type=Path, help="folder with sub-*_T1.mgz and sub-*_aseg.mgz")
    parser.add_argument("--participant-label", nargs="+", default=[], help="real heads (default: all)")
    parser.add_argument("--count", type=int, default=1, help="number of synthetic heads (default: 1)")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    args = parser.parse_args(argv)
    if not (args.heads or args.real):
        parser.error("give --heads, --real or both")
    scores: dict[str, list[list[Case]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        heads = args.heads
        if heads and heads.is_dir():
            heads = Path(folder) / "heads.npz"
            prepare.prepare(sorted(args.heads.glob("*.nii*")), heads)
        kinds = {}
        if heads:
            kinds[SYNTHETIC] = synthetic(heads, args.count)
        if args.real:
            kinds[REAL] = real(args.real, args.participant_label)
        for kind, found in kinds.items():
            for head in found:
                scores.setdefault(kind, []).append(head)
                tables.say(f"{kind}: {100 * covered(head):.0f} % of {len(head)} volumes covered")
    text = report(scores)
    print(text)
    if args.out:
        tables.put(args.out, "intervals", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
