"""Draw one head in several contrasts with the same geometry: does it get the same volumes?

``python benchmarks/contrasts.py HEADS [--count 1] [--out benchmarks/README.md]`` where HEADS is a folder of
held-out whole-head label maps, or the arrays of ``brainseg train prepare``.

A head's anatomy, position, bias field, noise and blur are drawn once; only the intensities differ. MP2RAGE
UNI has no bias field, and its background of noise is made dark as the program does it. Contrast-enhanced T1w
has patches of bright dura and vessels around the brain. Low field (1.6 x 1.6 x 5 mm) does not count in the
spread of the volumes.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import synthetic_heads
import tables
import torch
from synthetic_heads import CENTER, SHAPE

from brainseg.models.geometry.volume import Grid, Volume, resample
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.models.preprocessing import mp2rage
from brainseg.training.calibration.qc_norms import sided
from brainseg.training.data import prepare
from brainseg.training.evaluation.metrics import dice_by_class
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.contrast import LEVELS, draw_contrast
from brainseg.training.synthesis.generator import HeadGenerator

LEAST_ML = 3.0
"""Smallest volume (mL) of a structure, both sides together, that is compared."""

LOW_FIELD = "low field"
UNI, ENHANCED = "MP2RAGE UNI", "T1w, enhanced"
CONTRASTS = {
    "T1w": "T1w",
    "T2w": "T2w",
    "FLAIR": "FLAIR",
    "PDw": "PDw",
    UNI: "T1w",
    ENHANCED: "T1w",
    LOW_FIELD: "T1w",
}
"""Contrasts with the intensities of the source table that they begin from."""

DURA, BRIGHT = (2.0, 4.0), 1.3
"""Distance (mm) outside the brain of dura and vessels, and their brightness relative to white matter."""

LOW_SPACING, LOW_NOISE = (1.6, 1.6, 5.0), 6.0
"""Voxel size (mm) and noise of low field, noise on a scale of 0 to 255."""


class Head(NamedTuple):
    """A synthetic scan with its truth at 1 mm."""

    scan: Volume
    structures: np.ndarray


def grid() -> Grid:
    """Return the grid of the truth."""
    affine = np.eye(4)
    affine[:3, 3] = np.array(CENTER) - (np.array(SHAPE) - 1) / 2
    return Grid(SHAPE, affine)


def head(heads: Path, number: int, contrast: str) -> Head:
    """Return a head in a contrast; its geometry and acquisition depend on its number only.

    Parameters
    ----------
    heads : Path
        Prepared arrays.
    number : int
        Number of the head.
    contrast : str
        Key of :data:`CONTRASTS`.
    """
    config = GeneratorConfig(
        **synthetic_heads.NATURAL | {"contrasts": {CONTRASTS[contrast]: 1.0}, "low_resolution": 0.0}
    )
    generator = HeadGenerator(heads, config)
    torch.manual_seed(100 + number)
    draw = generator.draw(number)
    torch.manual_seed(200 + number)
    drawn = draw_contrast(generator.source, config, generator.device, seeded=False)
    drawn.means[:LEVELS], drawn.deviations[:LEVELS] = 0, 3  # air
    acquisition = draw.acquisition
    if contrast == UNI:
        acquisition = replace(acquisition, bias=0.0, noisy_background=True)
    if contrast == LOW_FIELD:
        noise = acquisition.noise + LOW_NOISE
        acquisition = replace(acquisition, slices=LOW_SPACING, noise=noise)
    torch.manual_seed(300 + number)
    rendered = generator.render(replace(draw, contrast=drawn, acquisition=acquisition), CENTER, SHAPE, 1.0)
    structures = sided(generator.source, rendered.labels.numpy(), draw.mirrored)
    scan = Volume(rendered.image * 255, grid().affine)
    if contrast == ENHANCED:
        scan = enhanced(scan, rendered.distance, structures)
    if contrast == UNI:
        scan = mp2rage.suppress(scan) or scan
    if contrast == LOW_FIELD:
        scan = resample(scan, coarser(scan.grid, LOW_SPACING))
    return Head(scan, structures)


def enhanced(scan: Volume, distance: torch.Tensor, structures: np.ndarray) -> Volume:
    """Return a scan with bright dura and vessels around the brain.

    Parameters
    ----------
    scan : Volume
        T1-weighted scan.
    distance : Tensor, shape (X, Y, Z)
        Signed distance (mm) to the brain's surface, positive inside.
    structures : ndarray, shape (X, Y, Z)
        FreeSurfer ids.
    """
    white = float(scan.data[torch.from_numpy(np.isin(structures, (2, 41)))].median())
    shell = (-distance >= DURA[0]) & (-distance < DURA[1])
    field = torch.randn(1, 1, *(n // 12 for n in scan.grid.shape))
    patches = torch.nn.functional.interpolate(field, size=scan.grid.shape, mode="trilinear")[0, 0] > 0
    return scan.with_data(torch.where(shell & patches, BRIGHT * white, scan.data))


def coarser(whole: Grid, spacing: tuple[float, float, float]) -> Grid:
    """Return a grid of larger voxels in the same field of view."""
    sizes = zip(whole.shape, whole.spacing, spacing, strict=True)
    shape = [int(n * old / new + 1e-6) for n, old, new in sizes]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = whole.affine[:3, 3] + (np.array(spacing) - whole.spacing) / 2
    return Grid((shape[0], shape[1], shape[2]), affine)


def measure(one: Head) -> dict[str, dict[str, float]]:
    """Return volumes (mL), true volumes and Dice by structure, both sides together."""
    found = process.process(one.scan).segmentation
    table = labels.load("adult")
    shown = resample(found.structures, grid(), mode="nearest").data
    truth = torch.from_numpy(np.where(one.structures == 24, 0, one.structures))
    dice = dice_by_class(torch.where(shown == 24, 0, shown), truth, least=synthetic_heads.LEAST)
    counts = dict(zip(*np.unique(one.structures, return_counts=True), strict=True))
    out: dict[str, dict[str, float]] = {
        "volume": {},
        "truth": {},
        "dice": {"mean": float(np.mean([*dice.values()]))},
    }
    for label in table:
        if label.index == 0 or label.name.startswith("Right-"):
            continue
        ids = {label.index, label.partner}
        name = label.name.removeprefix("Left-").replace("-", " ")
        out["volume"][name] = sum(found.volumes.get(i, 0.0) for i in ids) / 1000
        out["truth"][name] = sum(int(counts.get(i, 0)) for i in ids) / 1000
    return out


def spread(values: list[float]) -> float:
    """Return the coefficient of variation (%).

    Examples
    --------
    >>> round(spread([9.0, 10.0, 11.0]), 3)
    10.0
    """
    return 100 * float(np.std(values, ddof=1) / np.mean(values))


def report(found: dict[int, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Return the tables: Dice by contrast, and volumes relative to the truth with their spread."""
    names = [name for name in CONTRASTS if all(name in one for one in found.values())]
    compared = [name for name in names if name != LOW_FIELD]
    dice = [[name, float(np.mean([one[name]["dice"]["mean"] for one in found.values()]))] for name in names]
    first = tables.markdown(["contrast", "Dice"], dice)
    rows, beyond = [], 0
    kept = [
        name
        for name in next(iter(found.values()))[names[0]]["truth"]
        if all(one[names[0]]["truth"][name] >= LEAST_ML for one in found.values())
    ]
    for name in kept:
        cv = float(np.mean([spread([one[c]["volume"][name] for c in compared]) for one in found.values()]))
        beyond += cv > 5
        truth = float(np.mean([one[names[0]]["truth"][name] for one in found.values()]))
        ratios = [
            float(np.mean([one[c]["volume"][name] / one[c]["truth"][name] for one in found.values()]))
            for c in names
        ]
        rows.append([name, f"{truth:.1f}", f"{cv:.1f}", *(f"{ratio:.2f}" for ratio in ratios)])
    second = tables.markdown(["structure", "truth (mL)", "CV (%)", *names], rows)
    size = " x ".join(f"{x:g}" for x in LOW_SPACING)
    return (
        f"{len(found)} held-out head{'s' * (len(found) > 1)} with skull, each in {len(compared)} contrasts "
        f"of the same geometry at 1 mm, and low field ({size} mm).\n\n{first}\n\n"
        f"Coefficient of variation (CV) of the volumes over the {len(compared)} contrasts, and volume "
        f"divided by the true one; structures above {LEAST_ML:g} mL, both sides together. {beyond} of "
        f"{len(rows)} structures vary by more than 5 %.\n\n{second}\n\n"
        f"{tables.stamp('head-coarse', 'deepbet', 'skullstrip', 'segmentation')}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, help="prepared arrays (.npz), or a folder of label maps")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--contrasts", nargs="+", choices=list(CONTRASTS), default=list(CONTRASTS))
    parser.add_argument("--count", type=int, default=1, help="number of heads (default: 1)")
    args = parser.parse_args(argv)
    found: dict[int, dict[str, dict[str, dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        heads = args.heads
        if heads.is_dir():
            heads = Path(folder) / "heads.npz"
            prepare.prepare(sorted(args.heads.glob("*.nii*")), heads)
        for number in range(args.count):
            for contrast in args.contrasts:
                one = measure(head(heads, number, contrast))
                found.setdefault(number, {})[contrast] = one
                tables.say(f"head {number}, {contrast}: Dice {one['dice']['mean']:.3f}")
    text = report(found)
    print(text)
    if args.out:
        tables.put(args.out, "contrasts", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
