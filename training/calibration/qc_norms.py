"""Normal ranges of quality control and its calibration, from label maps and synthetic heads.

``brainseg train quality`` writes ``models/data/norms/<table>.json`` and ``.npz``: a prior of every structure
in the space of the template, normal sizes, and the weights of signs of failure in the expected Dice. The
weights are fitted to corrupted segmentations of synthetic heads with known labels. No manually labeled scan
is used, so that these remain for tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize

from ...models.geometry.volume import Volume
from ...models.population import labels
from ...models.quality import measures, quality
from ...models.quality.quality import Norms, Structure
from ...models.registration import linear
from ...models.segmentation import segmentation
from ...models.templates import bundled, catalog
from ..synthesis import corruption
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator

MILD = GeneratorConfig(
    contrasts={"T1w": 1.0}, scaling=0.12, bias=0.25, noise=8.0, low_resolution=0.25, strip=0.0, gamma=0.15
)
"""Ranges of typical scans."""

FIELD = (176, 208, 184)
"""Field of view (mm) of a synthetic head."""

FLOORS = {
    "share": 0.12,
    "asymmetry": 0.06,
    "overlap": 0.02,
    "edge": 0.1,
    "evenness": 0.05,
    "uncertainty": 0.02,
}
"""Minimum standard deviations, since a few heads underestimate the variation."""

FLUID_FLOOR = 0.5
"""The same for the log share of ventricles, which varies most with age."""

RIDGE = 0.3
"""Weight of the ridge penalty on the weights of signs."""


@dataclass
class Head:
    """A scan with its segmentation and true labels on one grid."""

    image: Volume
    mask: Volume
    structures: Volume
    truth: np.ndarray
    uncertainty: dict[int, float]


def sided(source, positions: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """Return FreeSurfer ids with sides from positions in a source table.

    Parameters
    ----------
    source : Source
        Source table.
    positions : ndarray of int
        Positions in the source table.
    mirrored : bool
        Whether left and right are swapped.
    """
    side = source.side[positions]
    if mirrored:
        side = np.where(side >= 0, 1 - side, side)
    table = labels.load("adult")
    right = np.arange(256)
    right[list(table.unsided)] = table.right_of
    left = source.structure[positions]
    return np.where(side == 0, right[left], left).astype(np.int16)


def maps(generator: HeadGenerator) -> Iterator[Volume]:
    """Yield the label maps of prepared arrays inside the brain, in mm of the maps."""
    for stored, distance, matrix in zip(
        generator.maps, generator.distances, generator.from_atlas, strict=True
    ):
        found = sided(generator.source, stored.cpu().numpy())
        inside = F.interpolate(distance[None, None].cpu(), size=found.shape, mode="trilinear")[0, 0] > 0
        affine = np.linalg.inv(matrix.double().numpy())
        # The atlas frame is scaled to the mean head; a map keeps its own mm.
        affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
        yield Volume(torch.from_numpy(found * inside.numpy()).to(torch.int16), affine)


def synthetic(generator: HeadGenerator, number: int, seed: int, device: str = "cpu") -> Head:
    """Return a synthetic head and its segmentation in the true brain mask.

    Parameters
    ----------
    generator : HeadGenerator
        Generator of the head.
    number : int
        Number of the map.
    seed : int
        Random seed.
    device : str
        Device of the networks.
    """
    torch.manual_seed(1000 * seed + number)
    draw = generator.draw(number)
    rendered = generator.render(draw, (0.0, 0.0, -6.0), FIELD, 1.0)
    affine = np.eye(4)
    affine[:3, 3] = np.array([0, 0, -6.0]) - (np.array(FIELD) - 1) / 2
    image = Volume(rendered.image.cpu() * 255, affine)
    mask = image.with_data((rendered.distance.cpu() > 0).to(torch.uint8))
    truth = sided(generator.source, rendered.labels.cpu().numpy(), draw.mirrored)
    found = segmentation.segment(image, mask, device=device)
    return Head(image, mask, found.structures, truth, dict(found.uncertainty))


def prior(found: Iterable[Volume], template: str = catalog.SYMMETRIC) -> dict[int, np.ndarray]:
    """Return the mean probability map of every structure over segmentations and their mirror images.

    Parameters
    ----------
    found : iterable of Volume
        Segmentations.
    template : str
        Template of the grid.
    """
    grid, table = quality.prior_grid(template), labels.load("adult")
    total = {label.index: np.zeros(grid.shape, np.float64) for label in table if label.index}
    count = 0
    for structures in found:
        centers = measures.centroids(structures.data.numpy(), structures.affine)
        matrix = linear.align(centers, bundled.load(template).centroids).matrix
        placed = measures.shares(structures, matrix, grid)
        count += 2
        for index, share in placed.items():
            if index in total:
                total[index] += share
                # The template is symmetric about x = 0, and so is the grid over it.
                total[table[index].partner] += share[::-1]
    return {index: (value / max(count, 1)).astype(np.float32) for index, value in total.items()}


def usual(measured: Iterable[list[Structure]]) -> dict[int, dict[str, tuple[float, float]]]:
    """Return median and robust standard deviation of every measure by structure, both sides together.

    Parameters
    ----------
    measured : iterable of list of Structure
        Measures of segmentations.
    """
    table = labels.load("adult")
    values: dict[int, dict[str, list[float]]] = {}
    for structures in measured:
        for one in structures:
            for index in {one.index, table[one.index].partner}:
                for name, value in one.measures.items():
                    values.setdefault(index, {}).setdefault(name, []).append(value)
    out: dict[int, dict[str, tuple[float, float]]] = {}
    for index, known in values.items():
        out[index] = {}
        for name, found in known.items():
            if name in FLOORS:
                center = float(np.median(found))
                spread = 1.4826 * float(np.median(np.abs(np.array(found) - center)))
                floor = FLUID_FLOOR if name == "share" and index in quality.LOOSE else FLOORS[name]
                out[index][name] = (round(center, 4), round(max(spread, floor), 4))
    return out


@dataclass
class Row:
    """One structure of one corrupted segmentation."""

    case: str
    kind: str
    level: float
    index: int
    dice: float
    signs: dict[str, float]
    volume: float


def rows(name: str, head: Head, norms: Norms, rng: np.random.Generator, each: int = 2) -> Iterator[Row]:
    """Yield signs and true Dice of the structures of a head, originally and under graded corruption.

    Parameters
    ----------
    name : str
        Name of the head.
    head : Head
        Scan, segmentation and true labels.
    norms : Norms
        Normal ranges.
    rng : Generator
        Random number generator.
    each : int
        Levels of every kind of corruption.
    """
    for kind, level, structures in corruption.graded(head.structures, rng, each):
        for one in quality.measure(head.image, head.mask, structures, norms, uncertainty=head.uncertainty):
            truth, found = head.truth == one.index, structures.data.numpy() == one.index
            total = int(truth.sum()) + int(found.sum())
            if truth.any():
                score = 2 * int((truth & found).sum()) / total
                yield Row(name, kind, level, one.index, score, one.signs, one.volume)


def fit(table: list[Row]) -> tuple[dict[str, float], dict[int, float]]:
    """Return non-negative weights of the signs, and intercepts by structure, fitted to the logit of Dice.

    Parameters
    ----------
    table : list of Row
        Signs and Dice of structures.
    """
    table = [row for row in table if row.volume > 0]
    names, partner = list(quality.SIGNS), labels.load("adult")
    indices = sorted({min(row.index, partner[row.index].partner) for row in table})
    place = {index: k for k, index in enumerate(indices)}
    design = np.zeros((len(table), len(indices) + len(names)))
    for number, row in enumerate(table):
        design[number, place[min(row.index, partner[row.index].partner)]] = 1
        design[number, len(indices) :] = [-row.signs.get(name, 0.0) for name in names]
    clipped = np.clip([row.dice for row in table], 0.01, 0.99)
    target = np.log(clipped / (1 - clipped))
    penalty = np.diag([0.0] * len(indices) + [RIDGE * np.sqrt(len(table)) / 10] * len(names))
    low = np.r_[np.full(len(indices), -np.inf), np.zeros(len(names))]
    found = optimize.lsq_linear(
        np.vstack([design, penalty]), np.r_[target, np.zeros(len(penalty))], (low, np.inf)
    ).x
    weights = {name: round(float(w), 4) for name, w in zip(names, found[len(indices) :], strict=True)}
    intercepts = {}
    for index, k in place.items():
        for side in {index, partner[index].partner}:
            intercepts[side] = round(float(found[k]), 4)
    return weights, dict(sorted(intercepts.items()))


def build(arrays: list[Path], folder: Path, heads: int = 8, each: int = 1, device: str = "cpu") -> Path:
    """Compute the norms from prepared label maps and write them.

    Parameters
    ----------
    arrays : list of Path
        Arrays from :func:`brainseg.training.data.prepare.prepare`.
    folder : Path
        Folder of the norms.
    heads : int
        Number of synthetic heads for the calibration.
    each : int
        Levels of every kind of corruption.
    device : str
        Device of the networks.
    """
    generators = [HeadGenerator(path, MILD, device) for path in arrays]
    brains = [volume for generator in generators for volume in maps(generator)]
    found = Norms("adult", catalog.SYMMETRIC, quality.prior_grid(), prior(brains), {})
    measured = []
    for brain in brains:
        whole = brain.with_data((brain.data > 0).to(torch.uint8))
        structures = quality.measure(brain.with_data(brain.data.float()), whole, brain, found)
        for one in structures:  # label values are not intensities
            one.measures.pop("edge", None)
            one.measures.pop("evenness", None)
        measured.append(structures)
    made = []
    for number in range(heads):
        generator = generators[number % len(generators)]
        step = len(generator.maps) * len(generators) / heads
        made.append(synthetic(generator, int(number // len(generators) * step), number % 2, device))
    for head in made:
        measured.append(
            quality.measure(head.image, head.mask, head.structures, found, uncertainty=head.uncertainty)
        )
    found = replace(found, usual=usual(measured))
    table: list[Row] = []
    for number, head in enumerate(made):
        table += rows(f"head {number}", head, found, np.random.default_rng(number), each)
    weights, intercepts = fit(table)
    source = f"{len(brains)} label maps of heads, and {heads} synthetic heads made from them"
    return write(folder, replace(found, weights=weights, intercepts=intercepts), source, {})


def write(folder: Path, norms: Norms, source: str, thresholds: dict[str, float]) -> Path:
    """Write norms; return the path of the JSON file.

    Parameters
    ----------
    folder : Path
        Folder of the norms.
    norms : Norms
        Norms to write.
    source : str
        Description of the data.
    thresholds : dict of str to float
        Thresholds of the quality rating.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "source": source,
        "template": norms.template,
        "affine": norms.grid.affine.tolist(),
        "thresholds": thresholds,
        "weights": norms.weights,
        "intercepts": {str(k): v for k, v in norms.intercepts.items()},
        "usual": {str(k): {m: list(v) for m, v in known.items()} for k, known in sorted(norms.usual.items())},
    }
    np.savez_compressed(
        folder / f"{norms.name}.npz",
        **{str(k): np.rint(255 * p).astype(np.uint8) for k, p in sorted(norms.prior.items())},
    )
    path = folder / f"{norms.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
