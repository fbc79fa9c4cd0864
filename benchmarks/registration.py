"""Compare registration of scans with manual labels with SyN of ANTs: pairs, and to the template.

``python benchmarks/registration.py DATA [--pairs N] [--ants N] [--cache DIR] [--out benchmarks/README.md]``:
all ordered pairs of the scans in DATA (see ``adult_manual.py``), or N of them, and every scan to the template
and back. The manual labels of one scan are transferred to the other, directly and through the template, and
compared by structure as in ``adult_manual.py``. The way to the template and back to the same scan measures
only the loss by interpolation: a registration that deforms less loses less. CPU time is that of the
registration alone, on one thread; the time of the pipeline before it is listed too. SyN gets the
skull-stripped scans without any result of the program.

With ``--cache`` the scores of every registration are stored, so that a killed run continues. Scores of SyN
are valid for the same scans, labels and antspyx; ours also for the same networks and registration code.
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
"""Networks of the segmentation before registration; another predicts the initial deformation."""
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
"""Modules that our registration depends on."""
LAYOUT = 1
"""Increased when the meaning of the scores of a row changes."""


@dataclass(frozen=True)
class Case:
    """A scan, its manual labels, and a digest of their content."""

    path: Path
    labels: Volume | None
    digest: str


@cache
def weights() -> str:
    """Return a digest of the networks."""
    return digest(*(zoo.read_card(name)["sha256"] for name in WEIGHTS))


@cache
def program() -> str:
    """Return a digest of the networks, our registration and the structures of the template."""
    folder = FOLDER.parent
    used = [*(folder / f"{name}.py" for name in SOURCES), *sorted((FOLDER / "templates").glob("*.npz"))]
    own = zoo.read_card(registration.NETWORK)["sha256"]
    return digest(weights(), own, *(path.read_bytes() for path in used))


def plain(path: Path) -> Anatomy:
    """Return a scan and its brain mask, without any result of the program."""
    scan = conform.read(path)
    brain = scan.with_data((scan.data > 0).to(torch.uint8))
    return Anatomy(scan, brain, brain, {}, {})


def anatomy(path: Path, folder: Path | None) -> tuple[Anatomy, float]:
    """Return a scan with the results of the pipeline, and its CPU time (s)."""
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
    """Return the manual labels in our ids, the temporal horn as a part of the ventricle."""
    mapping = evaluate.read_mapping("neuromorphometrics")
    whole = {k: adult_manual.HORN.get(v, v) for k, v in mapping.structure.items()}
    read = evaluate.read_labels(path)
    labels = evaluate.Mapping(mapping.name, whole).apply(read.data.numpy(), path)
    return read.with_data(torch.from_numpy(np.ascontiguousarray(labels).astype(np.int16)))


def dice(expected: Volume, found: Volume) -> dict[str, float]:
    """Return Dice by structure of the headline, each the mean of its sides."""
    a, b = expected.data.numpy(), found.data.numpy()
    scores = {}
    for name, ids in adult_manual.HEADLINE.items():
        sides = [2 * ((a == i) & (b == i)).sum() / max(1, (a == i).sum() + (b == i).sum()) for i in ids]
        scores[name] = float(np.mean(sides))
    return scores


def consistency(found: RegistrationResult, brain: Volume) -> float:
    """Return the mean distance (mm) of brain voxels from their position after transform and inverse."""
    inside = np.argwhere(brain.data.numpy() > 0)[::97]
    points = inside @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    return float(np.linalg.norm(found.inverse.points(found.forward.points(points)) - points, axis=1).mean())


def folds(found: RegistrationResult, brain: Volume) -> float:
    """Return the fraction of brain voxels (1 mm) with folds, in percent."""
    change = found.forward.jacobian(brain.grid).data[brain.data > 0]
    return 100 * float((change <= 0).float().mean())


def measure(
    register: Callable, moving: Anatomy, fixed: Anatomy, brain: Volume, labels: tuple[Volume, Volume | None]
) -> tuple[dict, tuple[Warp, Warp]]:
    """Return Dice by structure, folds, inverse consistency and CPU time of a registration; and its warps.

    Without manual labels of the fixed image, labels are transferred there and back.
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
    """Return the registration by SyN of antspyx with default settings."""
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
    """Registrations of several scans, each computed once.

    Parameters
    ----------
    data : Path
        Folder with a ``sub-*`` folder for every scan.
    folder : Path, optional
        Stores the results of the pipeline and the scores of every registration.
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
        """Return the scores of one registration, stored or, if ``new``, computed."""
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
        """Return Dice of labels transferred through the template to another scan."""
        there, back = (self._to_template(name, engine) for name in pair)
        moving, fixed = (self.cases[name].labels for name in pair)
        warp = Warp((*back[1].steps, *there[0].steps))
        found = dice(fixed, warp.resample(moving, fixed.grid, "nearest"))
        return {"dice": found, "figures": [float("nan")] * (len(COLUMNS) - 1)}

    def _kept(self, pair: tuple[str, str], engine: str) -> tuple[Path | None, list[Path]]:
        """Return the files of the scores and, for a registration to the template, of its warps."""
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
    """Return ``count`` of the pairs, evenly spread."""
    if count is None or count >= len(pairs):
        return pairs
    return [pairs[round(i)] for i in np.linspace(0, len(pairs) - 1, count)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with a sub-* folder for every scan")
    parser.add_argument("--pairs", type=int, help="ordered pairs of scans (default: all)")
    parser.add_argument("--ants", type=int, help="number of these pairs for SyN (default: all)")
    parser.add_argument(
        "--template", type=int, help="scans registered to the template and back (default: all)"
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument(
        "--zero", type=int, default=8, help="pairs registered also without the initial deformation"
    )
    parser.add_argument(
        "--kept", nargs="+", choices=ENGINES, default=[], help="methods of which only stored rows are used"
    )
    parser.add_argument("--cache", type=Path, help="folder to store scores, so that a killed run continues")
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
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
    """Return the columns of one registration."""
    return [float(np.mean(list(row["dice"].values()))), *row["figures"]]


def report(rows: dict[tuple[str, str], dict[tuple[str, str], dict]], chain: list[float]) -> str:
    """Return the tables of means and of structures, and the comparison with SyN."""
    by_syn = {what: set(found) for (what, engine), found in rows.items() if engine == "SyN"}
    lines = []
    for (what, engine), found in rows.items():
        parts = {what: found}
        both = by_syn.get(what, set()) & set(found)
        if both and set(found) != both:
            parts[f"{what} also done by SyN"] = {k: v for k, v in found.items() if k in both}
        for name, part in parts.items():
            mean = np.array([figures(row) for row in part.values()]).mean(0)
            lines.append([f"{name}: {engine}", str(len(part)), *mean.tolist()])
    note = f" The pipeline before registration takes {np.mean(chain):.0f} CPU s." if chain else ""
    engines = [e for e in ENGINES if e != ZERO and ("pairs", e) in rows]
    all_did = set.intersection(*(set(rows["pairs", e]) for e in engines)) if engines else set()
    return "\n\n".join(
        (
            "Manual labels of one scan transferred to another; means, one thread." + note,
            tables.markdown(["registration", "n", *COLUMNS], lines, digits=4),
            *(
                compared(what, rows, engine)
                for what, engine in rows
                if engine in (ZERO, "SyN") and (what, "deep") in rows
            ),
            f"Dice by structure, the {len(all_did)} pairs of all methods:",
            tables.markdown(["structure", *engines], by_structure(rows, engines, all_did)),
            tables.stamp("head-coarse", "segmentation", registration.NETWORK),
        )
    )


def compared(what: str, rows: dict[tuple[str, str], dict[tuple[str, str], dict]], other: str) -> str:
    """Return the comparison of the program with another method on their common registrations."""
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
    """Return the mean Dice over pairs, one row per structure."""
    return [
        [name, *(float(np.mean([rows["pairs", e][k]["dice"][name] for k in pairs])) for e in engines)]
        for name in adult_manual.HEADLINE
        if pairs
    ]


if __name__ == "__main__":
    raise SystemExit(main())
