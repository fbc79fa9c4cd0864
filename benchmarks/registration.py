"""Registration of scans with manual labels to each other and to the template, against SyN of ANTs.

``python benchmarks/registration.py DATA [--pairs N] [--ants N] [--cache DIR] [--out benchmarks/README.md]``:
all ordered pairs of the scans in DATA (see ``adult_manual.py``), or N of them spread over all, and every scan
to the template and back. The manual labels of one scan are carried onto the other, and compared by structure
as ``adult_manual.py`` does; once more they go there through the template. To the template and back onto the
same scan says only what the two ways lose: a registration that deforms less loses less. CPU time is that of
the registration alone, on one thread, from images and segmentations that the chain has made (its time is told
too). SyN gets the scans as they are, which are skull-stripped, and nothing that the program found.

With ``--cache`` every registration's figures are kept as soon as they are there, so that a killed run goes
on. Those of SyN stay valid as long as scans, labels and antspyx do; ours as long as the networks and the
program's own registration do, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import permutations
from pathlib import Path

import adult_manual
import numpy as np
import tables
import torch
from tables import digest

from brainseg.models.data import FOLDER
from brainseg.models.deformation.warp import Warp
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import atomic, conform, itk
from brainseg.models.networks import zoo
from brainseg.models.pipeline import process
from brainseg.models.population.labels import DSEG_NAMES
from brainseg.models.registration import reference, registration
from brainseg.models.registration.result import Anatomy, RegistrationResult
from brainseg.training.evaluation import segmentation as evaluate

COLUMNS = ("Dice", "folds (%)", "inverse consistency (mm)", "CPU (s)")
WEIGHTS = ("head-coarse", "skullstrip", "segmentation")
"""Networks that find what is registered; another predicts where the deformation ends."""
SOURCES = (
    "geometry/affine",
    "deformation/diffeomorphic",
    "registration/features",
    "registration/reference",
    "registration/deep",
    "registration/linear",
    "registration/registration",
    "deformation/velocity",
    "networks/velocity_unet",
    "geometry/volume",
    "deformation/warp",
)
"""Modules on which our own registration depends."""
LAYOUT = 1
"""Raised when the figures of a row mean something else."""


@dataclass(frozen=True)
class Case:
    """A scan, its manual labels, and what names their content."""

    path: Path
    labels: Volume | None
    digest: str


@cache
def weights() -> str:
    """Names the networks."""
    return digest(*(zoo.read_card(name)["sha256"] for name in WEIGHTS))


@cache
def program() -> str:
    """Names the networks, our own registration and the template's structures."""
    folder = FOLDER.parent
    used = [*(folder / f"{name}.py" for name in SOURCES), *sorted((FOLDER / "templates").glob("*.npz"))]
    own = zoo.read_card(registration.NETWORK)["sha256"]
    return digest(weights(), own, *(path.read_bytes() for path in used))


def plain(path: Path) -> Anatomy:
    """A scan and the brain in it, without anything that the program found."""
    scan = conform.read(path)
    brain = scan.with_data((scan.data > 0).to(torch.uint8))
    return Anatomy(scan, brain, brain, {}, {})


def anatomy(path: Path, folder: Path | None) -> tuple[Anatomy, float]:
    """A scan with what the chain finds in it, and the CPU seconds of that."""
    name = f"{path.name.split('_')[0]}-{digest(path.read_bytes(), weights())}.npz"
    kept = folder / name if folder else None
    if kept and kept.is_file():
        with np.load(kept) as arrays:
            affine, seconds = arrays["affine"], float(arrays["seconds"])
            made = {k: Volume(torch.from_numpy(arrays[k]), affine) for k in ("img", "mask", "seg")}
            maps = {
                k: Volume(torch.from_numpy(p).float(), affine)
                for k, p in zip(DSEG_NAMES, arrays["prob"], strict=True)
            }
        return reference.anatomy(made["img"], made["mask"], made["seg"], maps), seconds
    began = time.process_time()
    scan = conform.read(path)
    done = process.process(scan)
    brain, corrected, found = done.brain, done.corrected, done.segmentation
    seconds = time.process_time() - began
    if kept:
        maps = np.stack([found.probabilities[k].data.numpy() for k in DSEG_NAMES])
        arrays = {"img": corrected.data, "mask": brain.mask.data, "seg": found.structures.data}
        stored = {k: v.numpy() for k, v in arrays.items()} | {"seconds": np.float64(seconds)}
        with atomic.replacing(kept, keep_extension=True) as partial:
            np.savez_compressed(partial, affine=corrected.affine, prob=maps.astype(np.float16), **stored)
    return reference.anatomy(corrected, brain.mask, found.structures, found.probabilities), seconds


def truth(path: Path) -> Volume:
    """Manual labels as ours, the temporal horn as a part of the ventricle."""
    mapping = evaluate.read_mapping("neuromorphometrics")
    whole = {k: adult_manual.HORN.get(v, v) for k, v in mapping.structure.items()}
    read = evaluate.read_labels(path)
    labels = evaluate.Mapping(mapping.name, whole).apply(read.data.numpy(), path)
    return read.with_data(torch.from_numpy(np.ascontiguousarray(labels).astype(np.int16)))


def dice(expected: Volume, found: Volume) -> dict[str, float]:
    """By structure of the headline, each the mean of its sides."""
    a, b = expected.data.numpy(), found.data.numpy()
    scores = {}
    for name, ids in adult_manual.HEADLINE.items():
        sides = [2 * ((a == i) & (b == i)).sum() / max(1, (a == i).sum() + (b == i).sum()) for i in ids]
        scores[name] = float(np.mean(sides))
    return scores


def consistency(found: RegistrationResult, brain: Volume) -> float:
    """Mean distance (mm) of the brain's points from where they come back to."""
    inside = np.argwhere(brain.data.numpy() > 0)[::97]
    points = inside @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    return float(np.linalg.norm(found.inverse.points(found.forward.points(points)) - points, axis=1).mean())


def folds(found: RegistrationResult, brain: Volume) -> float:
    """Share of the brain's voxels (1 mm) where space folds, in percent."""
    change = found.forward.jacobian(brain.grid).data[brain.data > 0]
    return 100 * float((change <= 0).float().mean())


def measure(
    register: Callable, moving: Anatomy, fixed: Anatomy, brain: Volume, labels: tuple[Volume, Volume | None]
) -> tuple[dict, tuple[Warp, Warp]]:
    """Dice by structure, folds, inverse consistency and CPU time of one registration; and its warps.

    Without manual labels of the fixed image they go there and back.
    """
    began = time.process_time()
    found = register(moving, fixed)
    seconds = time.process_time() - began
    if labels[1] is None:
        moved = found.forward.resample(labels[0], fixed.image.grid, "nearest")
        scores = dice(labels[0], found.inverse.resample(moved, labels[0].grid, "nearest"))
    else:
        scores = dice(labels[1], found.forward.resample(labels[0], labels[1].grid, "nearest"))
    figures = [folds(found, brain), consistency(found, brain), seconds]
    return {"dice": scores, "figures": figures}, (found.forward, found.inverse)


def syn(moving: Anatomy, fixed: Anatomy) -> RegistrationResult:
    """antspyx's SyN with its default settings, nothing of ours to begin from."""
    from brainseg.models.registration import syn

    nowhere = RegistrationResult(np.eye(4), float("nan"), Warp(()), Warp(()))
    return syn.register(moving, fixed, nowhere, start=False)


BACK, THROUGH = "to the template and back", "through the template"
ZERO = "deep without the network's start"
ENGINES = {
    "affine": lambda a, b: registration.register(a, b, engine="none"),
    "deep": lambda a, b: registration.register(a, b, network=registration.NETWORK),
    ZERO: lambda a, b: registration.register(a, b),
    "SyN": syn,
}


class Bench:
    """Registrations of some scans, each done once.

    Parameters
    ----------
    data : Path
        Folder with a ``sub-*`` folder for every scan.
    folder : Path, optional
        Keeps what the chain found and the figures of every registration.
    """

    TEMPLATE = reference.spaces.DEFAULT

    def __init__(self, data: Path, folder: Path | None):
        self.folder = folder
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self.cases = {
            name: Case(image, truth(labels), digest(image.read_bytes(), labels.read_bytes()))
            for name, image, labels in adult_manual.cases(data)
        }
        template = reference.load(self.TEMPLATE)
        named = digest(template.image.data.numpy().tobytes(), template.mask.data.numpy().tobytes())
        self.cases[self.TEMPLATE] = Case(Path(self.TEMPLATE), None, named)
        self.chain: dict[str, float] = {}
        self._made: dict[str, Anatomy] = {}
        self._warps: dict[tuple[str, str], tuple[Warp, Warp]] = {}

    def row(self, pair: tuple[str, str], engine: str, new: bool = True) -> dict | None:
        """Figures of one registration, kept or, if wanted, new."""
        kept, ways = self._kept(pair, engine)
        if kept and kept.is_file() and all(way.is_file() for way in ways):
            return json.loads(kept.read_text())
        if not new:
            return None
        moving, fixed = (self.cases[name] for name in pair)
        anatomies = [self._anatomy(name, engine) for name in pair]
        found, warps = measure(
            ENGINES[engine], *anatomies, self._plain(pair[1]).mask, (moving.labels, fixed.labels)
        )
        if pair[1] == self.TEMPLATE:
            self._warps[pair[0], engine] = warps
        for way, warp in zip(ways, warps, strict=False):
            with atomic.replacing(way, keep_extension=True) as partial:
                itk.write(partial, warp)
        if kept:
            with atomic.replacing(kept, keep_extension=True) as partial:
                partial.write_text(json.dumps(found))
        return found

    def through(self, pair: tuple[str, str], engine: str) -> dict:
        """Dice of labels that went to the template by one registration and onto another scan by its own."""
        there, back = (self._to_template(name, engine) for name in pair)
        moving, fixed = (self.cases[name].labels for name in pair)
        warp = Warp((*back[1].steps, *there[0].steps))
        found = dice(fixed, warp.resample(moving, fixed.grid, "nearest"))
        return {"dice": found, "figures": [float("nan")] * (len(COLUMNS) - 1)}

    def _kept(self, pair: tuple[str, str], engine: str) -> tuple[Path | None, list[Path]]:
        """Where figures are kept and, of a registration to the template, its warps."""
        if not self.folder:
            return None, []
        moving, fixed = (self.cases[name] for name in pair)
        theirs = version("antspyx") if engine == "SyN" else program()
        key = digest(str(LAYOUT), engine, moving.digest, fixed.digest, theirs)
        kept = self.folder / f"{'zero' if engine == ZERO else engine}_{'_'.join(pair)}_{key}.json"
        named = ("there", "back") if pair[1] == self.TEMPLATE else ()
        return kept, [kept.with_suffix(f".{name}.h5") for name in named]

    def _to_template(self, name: str, engine: str) -> tuple[Warp, Warp]:
        if (name, engine) not in self._warps:
            there, back = self._kept((name, self.TEMPLATE), engine)[1]
            self._warps[name, engine] = itk.read(there), itk.read(back)
        return self._warps[name, engine]

    def _anatomy(self, name: str, engine: str) -> Anatomy:
        if name == self.TEMPLATE:
            return reference.load(name)
        if engine == "SyN":
            return self._plain(name)
        if name not in self._made:
            self._made[name], self.chain[name] = anatomy(self.cases[name].path, self.folder)
        return self._made[name]

    @cache  # noqa: B019
    def _plain(self, name: str) -> Anatomy:
        return reference.load(name) if name == self.TEMPLATE else plain(self.cases[name].path)


def spread(pairs: list, count: int | None) -> list:
    """``count`` of the pairs, evenly among all."""
    if count is None or count >= len(pairs):
        return pairs
    return [pairs[round(i)] for i in np.linspace(0, len(pairs) - 1, count)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("--pairs", type=int, help="ordered pairs of scans (default: all)")
    parser.add_argument("--ants", type=int, help="how many of these SyN does too (default: all)")
    parser.add_argument("--template", type=int, help="scans that go to the template and back (default: all)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--zero", type=int, default=8, help="pairs that go without the network's start too")
    parser.add_argument("--kept", nargs="+", choices=ENGINES, default=[], help="use their kept rows only")
    parser.add_argument("--cache", type=Path, help="folder that keeps what was done; a killed run goes on")
    parser.add_argument("--out", type=Path, help="page that gets the table, between its markers")
    args = parser.parse_args(argv)
    # ITK reads it when antspyx is imported.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    torch.set_num_threads(1)
    bench = Bench(args.data, args.cache)
    scans = [name for name in bench.cases if name != bench.TEMPLATE]
    pairs = spread(list(permutations(scans, 2)), args.pairs)
    by_syn, by_zero = set(spread(pairs, args.ants)), set(spread(pairs, args.zero))
    there = [(name, bench.TEMPLATE) for name in spread(scans, args.template)]
    rows: dict[tuple[str, str], dict[tuple[str, str], dict]] = {}
    for what, some in (("pairs", pairs), (BACK, there)):
        for pair in some:
            for engine in args.engines:
                if engine == "SyN" and pair not in by_syn and (what == "pairs" or args.ants == 0):
                    continue
                if engine == ZERO and pair not in by_zero:
                    continue
                found = bench.row(pair, engine, engine not in args.kept)
                if found is None:
                    continue
                rows.setdefault((what, engine), {})[pair] = found
                values = ", ".join(f"{k} {v:.4g}" for k, v in zip(COLUMNS, figures(found), strict=True))
                tables.say(f"{' to '.join(pair)} {engine}: {values}")
    for engine in args.engines:
        done = [name for name in scans if (name, bench.TEMPLATE) in rows.get((BACK, engine), {})]
        for pair in permutations(done, 2):
            rows.setdefault((THROUGH, engine), {})[pair] = bench.through(pair, engine)
    text = report(rows, list(bench.chain.values()))
    print(text)
    if args.out:
        tables.put(args.out, "registration", text)
    return 0


def figures(row: dict) -> list[float]:
    """The columns of one registration."""
    return [float(np.mean(list(row["dice"].values()))), *row["figures"]]


def report(rows: dict[tuple[str, str], dict[tuple[str, str], dict]], chain: list[float]) -> str:
    """The tables: means over registrations, by structure, and how the program compares with SyN."""
    by_syn = {what: set(found) for (what, engine), found in rows.items() if engine == "SyN"}
    lines = []
    for (what, engine), found in rows.items():
        parts = {what: found}
        both = by_syn.get(what, set()) & set(found)
        if both and set(found) != both:
            parts[f"{what} that SyN did too"] = {k: v for k, v in found.items() if k in both}
        for name, part in parts.items():
            mean = np.array([figures(row) for row in part.values()]).mean(0)
            lines.append([f"{name}: {engine}", str(len(part)), *mean.tolist()])
    told = f" What the chain makes of a scan before that takes {np.mean(chain):.0f} CPU s." if chain else ""
    engines = [e for e in ENGINES if e != ZERO and ("pairs", e) in rows]
    all_did = set.intersection(*(set(rows["pairs", e]) for e in engines)) if engines else set()
    return "\n\n".join(
        (
            "Manual labels of one scan carried onto another; means, one thread." + told,
            tables.markdown(["registration", "n", *COLUMNS], lines, digits=4),
            *(
                compared(what, rows, engine)
                for what, engine in rows
                if engine in (ZERO, "SyN") and (what, "deep") in rows
            ),
            f"Dice by structure, the {len(all_did)} pairs that all did:",
            tables.markdown(["structure", *engines], by_structure(rows, engines, all_did)),
            tables.stamp("head-coarse", "segmentation", registration.NETWORK),
        )
    )


def compared(what: str, rows: dict[tuple[str, str], dict[tuple[str, str], dict]], other: str) -> str:
    """The program beside another engine on the registrations that both did."""
    ours, theirs = rows[what, "deep"], rows[what, other]
    both = [(figures(ours[k]), figures(theirs[k])) for k in theirs if k in ours]
    gain = [a[0] - b[0] for a, b in both]
    share = sum(b[-1] for _, b in both) / sum(a[-1] for a, _ in both)
    time = "" if np.isnan(share) else f"; {other} takes {share:.1f} times its CPU time"
    return (
        f"{what[0].upper()}{what[1:]}: `deep` is at least as good as {other} in "
        f"{sum(g >= 0 for g in gain)} of {len(gain)}, by {np.mean(gain):+.4f} on average "
        f"({min(gain):+.4f} to {max(gain):+.4f}){time}."
    )


def by_structure(
    rows: dict[tuple[str, str], dict[tuple[str, str], dict]], engines: list[str], pairs: set
) -> list[list]:
    """Mean Dice over some pairs, a line a structure."""
    return [
        [name, *(float(np.mean([rows["pairs", e][k]["dice"][name] for k in pairs])) for e in engines)]
        for name in adult_manual.HEADLINE
        if pairs
    ]


if __name__ == "__main__":
    raise SystemExit(main())
