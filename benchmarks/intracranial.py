"""Score intracranial volumes: against label maps, under atrophy, and in real heads.

``python benchmarks/intracranial.py HEADS --network FILE [--real DATA ...] [--out benchmarks/README.md]
[--figures DIR]`` where HEADS is an ``.npz`` of ``brainseg train prepare``, or a folder of whole-head label
maps, all held out from training, FILE the weights of the recipe ``intracranial``, and DATA are folders of
real heads (``sub-*`` images; those without skull are left out).

Every map is rendered with its skull in every contrast, with a fixed seed, whole and defaced, and once more
with its brain made smaller and thinner inside the same skull, under the same noise. Real heads have no truth:
the table has the ratio to the brain mask, and the change by degrading the same image.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tables
import torch
from real_heads import scan_of

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume, normalize, resample
from brainseg.models.intracranial import intracranial
from brainseg.models.localization import head
from brainseg.models.population import populations
from brainseg.models.population.populations import Population
from brainseg.models.segmentation import masks, skullstrip
from brainseg.training.data import prepare
from brainseg.training.synthesis.atrophy import Atrophy, thinned
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import Draw, HeadGenerator

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw", "random")
SPACING, SHAPE, CENTER = 1.5, (136, 184, 184), (0.0, 8.0, -20.0)
NATURAL = {"rotation": 10.0, "scaling": 0.1, "deformation": 3.0, "strip": 0.0, "crop": 0.0, "deface": 0.0}
ATROPHY = Atrophy(0.93, True)
"""A fifth of the brain's volume lost (0.93 cubed), and the outermost millimeter of its tissue."""

KINDS = ("whole", "defaced", "atrophy")
ADULT = populations.load("adult")


def cases(heads: Path, contrast: str, number: int) -> Iterable[tuple[str, Volume, float]]:
    """Yield the kind, a synthetic scan and the true intracranial volume (mL) of one head.

    Bone and other tissue outside the brain are as in scanners in all contrasts but the random ones.
    """
    torch.manual_seed(1000 * CONTRASTS.index(contrast) + number)
    dark = 0.0 if contrast == "random" else 1.0
    config = GeneratorConfig(contrasts={contrast: 1.0}, dark_bone=dark, known_outside=dark, **NATURAL)
    generator = HeadGenerator(heads, config)
    draw = generator.draw(number)
    front, up, normal = 58.0, -22.0, np.array([np.cos(0.7), -np.sin(0.7)])
    cut = torch.tensor([0.0, *normal, normal @ [front, up]], dtype=torch.float32)
    for kind in KINDS:
        changed = draw
        if kind == "defaced":
            changed = replace(draw, acquisition=replace(draw.acquisition, cut=cut))
        if kind == "atrophy":
            labels = thinned(draw.labels, generator.tissue, generator.fluid)
            changed = replace(draw, atrophy=ATROPHY, labels=labels)
        yield kind, *_rendered(generator, changed, number)


def _rendered(generator: HeadGenerator, draw: Draw, seed: int) -> tuple[Volume, float]:
    """Return a scan and its intracranial volume (mL); the noise depends on the seed alone."""
    torch.manual_seed(seed)
    rendered = generator.render(draw, CENTER, SHAPE, SPACING)
    assert rendered.cavity is not None
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = np.array(CENTER) - (np.array(SHAPE) - 1) / 2 * SPACING
    inside = intracranial.filling(Volume(rendered.cavity, affine))
    return Volume(rendered.image, affine), float(inside.sum()) * SPACING**3 / 1000


def measured(scan: Volume, record: Population) -> float:
    """Return the measured intracranial volume (mL); NaN if it is not available."""
    try:
        found = intracranial.measure(scan, record)
    except InputError:  # the brain was not found
        return float("nan")
    return float("nan") if found.volume is None else found.volume / 1000


def synthetic(heads: Path, contrasts: Iterable[str], record: Population) -> str:
    """Return the table of errors by contrast."""
    count = len(HeadGenerator(heads, GeneratorConfig()).maps)
    rows: list[list[object]] = []
    every: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for contrast in contrasts:
        errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(count):
            found = {}
            for kind, scan, truth in cases(heads, contrast, number):
                found[kind] = measured(scan, record)
                errors[kind].append(100 * (found[kind] / truth - 1))
            # The same skull: the change is that of the measure.
            errors["atrophy"][-1] = 100 * (found["atrophy"] / found["whole"] - 1)
            last = ", ".join(f"{kind} {errors[kind][-1]:+.2f} %" for kind in KINDS)
            tables.say(f"{contrast} {number}: {last}")
        rows.append(_row(contrast, errors))
        for kind in KINDS:
            every[kind] += errors[kind]
    rows.append(_row("**all**", every))
    header = ["contrast", "heads", "n/a", "error (%)", "bias (%)", "largest", "error, defaced (%)", "largest"]
    header += ["change under atrophy (%)", "largest"]
    words = (
        "Intracranial volumes of synthetic whole heads of held-out label maps: absolute error, mean signed "
        "error and largest error; and absolute change if the brain is "
        f"{100 * (1 - ATROPHY.scale**3):.0f} % smaller and its tissue 1 mm thinner inside the same skull."
    )
    return f"{words}\n\n{tables.markdown(header, rows, 2)}"


def _row(name: str, errors: dict[str, list[float]]) -> list[object]:
    size = {kind: np.abs(values) for kind, values in errors.items()}
    missing = int(np.isnan(errors["whole"]).sum())
    row: list[object] = [name, len(errors["whole"]) - missing, missing, float(np.nanmean(size["whole"]))]
    row += [float(np.nanmean(errors["whole"])), float(np.nanmax(size["whole"]))]
    return row + [float(f(size[kind])) for kind in KINDS[1:] for f in (np.nanmean, np.nanmax)]


def degraded(scan: Volume) -> dict[str, Volume]:
    """Return other images of the same head: thick slices, tilted by 15 degrees, and inverted in contrast."""
    grid = scan.grid
    size = grid.spacing
    thick = np.ceil(np.array(grid.shape) * size / np.where(np.arange(3) == _upright(scan), 5.0, size))
    affine = grid.affine.copy()
    step = np.where(np.arange(3) == _upright(scan), 5.0, size) / size
    affine[:3, :3] = affine[:3, :3] * step
    affine[:3, 3] += grid.affine[:3, :3] @ ((step - 1) / 2)
    slices = resample(scan, Grid(tuple(int(n) for n in thick), affine))
    cosine, sine = np.cos(np.radians(15)), np.sin(np.radians(15))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    unit = normalize(scan.data)
    # The background stays dark, as in every scanner.
    inverted = torch.where(unit > 0.08, 1.08 - unit, unit)
    return {
        "5 mm slices": slices,
        "tilted": Volume(scan.data, turn @ scan.affine),
        "inverted": scan.with_data(inverted),
    }


def _upright(scan: Volume) -> int:
    """Return the voxel axis that is closest to the body's."""
    return int(np.abs(scan.affine[2, :3]).argmax())


def real(folders: list[Path], figures: Path | None, record: Population) -> str:
    """Return the table of real heads."""
    rows = []
    with tempfile.TemporaryDirectory() as work:
        paths = [p for folder in folders for p in sorted(folder.glob("sub-*")) if _is_head(p)]
        for path in paths:
            scan = scan_of(path, Path(work))
            coarse = head.find(scan, model=record.coarse)
            name = path.name.split(".")[0]
            if masks.is_stripped(scan, coarse.distance):
                tables.say(f"{name}: stripped")
                continue
            found = intracranial.measure(scan, record)
            if found.volume is None or found.mask is None or found.distance is None:
                rows.append([name, *[float("nan")] * 7])
                continue
            brain = skullstrip.skullstrip(scan).mask
            volume, size = found.volume / 1000, float(brain.data.sum()) * scan.grid.voxel_volume / 1000
            outside = 100 * intracranial.brain_outside(brain, found.distance)
            changes = [100 * (measured(other, record) / volume - 1) for other in degraded(scan).values()]
            rows.append([name, volume, size, volume / size, outside, *changes])
            tables.say(f"{name}: {volume:.0f} mL, {size:.0f} mL, " + " ".join(f"{c:+.2f}" for c in changes))
            if figures:
                figure(scan, found.mask, brain, figures / f"{name}.png")
    header = ["head", "intracranial (mL)", "brain mask (mL)", "ratio", "mask over 2 mm outside (%)"]
    header += ["change (%): 5 mm slices", "tilted by 15°", "inverted contrast"]
    words = "Real heads with skull: the ratio to the brain mask, and changes by degrading the same image."
    return f"{words}\n\n{tables.markdown(header, rows, 2)}"


def _is_head(path: Path) -> bool:
    name = path.name.split(".")[0]
    return name.endswith(("_T1", "_T1w", "_T2w", "_FLAIR")) and path.name.endswith(
        (".mgz", ".nii.gz", ".nii")
    )


def figure(scan: Volume, cavity: Volume, brain: Volume, path: Path) -> None:
    """Draw sections with the cranial cavity (red) and the brain mask (yellow)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    image = scan.canonical()
    inside, mask = cavity.canonical().data.numpy() > 0, brain.canonical().data.numpy() > 0
    data = image.data.numpy()
    top = float(np.quantile(data[inside], 0.99))
    canvas, axes = plt.subplots(3, 5, figsize=(20, 13), facecolor="black")
    for row, axis in zip(axes, range(3), strict=True):
        ends = np.nonzero(inside.any(tuple(a for a in range(3) if a != axis)))[0][[0, -1]]
        rest = [size for a, size in enumerate(image.grid.spacing) if a != axis]
        for panel, where in zip(row, np.linspace(*ends, 7)[1:-1].astype(int), strict=True):
            panel.imshow(
                data.take(where, axis).T, origin="lower", cmap="gray", vmax=top, aspect=rest[1] / rest[0]
            )
            for shown, color in ((mask, "yellow"), (inside, "red")):
                if shown.take(where, axis).any():
                    panel.contour(shown.take(where, axis).T, [0.5], colors=color, linewidths=0.8)
            panel.set_axis_off()
    canvas.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=70, facecolor="black")
    plt.close(canvas)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path, help="prepared arrays (.npz), or a folder of label maps")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of real heads with skull")
    parser.add_argument("--contrasts", nargs="+", choices=CONTRASTS, default=CONTRASTS)
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    parser.add_argument("--figures", type=Path, help="folder for one figure of each real head")
    parser.add_argument("--network", required=True, help="weights of the cranial cavity")
    args = parser.parse_args(argv)
    record = replace(ADULT, intracranial=args.network)
    with tempfile.TemporaryDirectory() as folder:
        heads = args.heads
        if heads.is_dir():
            heads = Path(folder) / "heads.npz"
            prepare.prepare(sorted(args.heads.glob("*.nii*")), heads)
        parts = [synthetic(heads, args.contrasts, record)]
    if args.real:
        parts.append(real(args.real, args.figures, record))
    text = "\n\n".join([*parts, tables.stamp("head-coarse", args.network)])
    print(text)
    if args.out:
        tables.put(args.out, "intracranial", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
