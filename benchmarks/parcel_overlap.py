"""Parcels of Desikan and Killiany against references: what the protocols share, and Dice by region and side.

The manual labels are those of Neuromorphometrics. Their protocol has other borders, so both are merged to
what they share. Two of their regions cross lobes of the other protocol and are not scored: the central
operculum (frontal and parietal) and the occipital fusiform gyrus (temporal and occipital).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import tables
import torch
from adult_manual import cases
from real_heads import scan_of

from brainseg.models.geometry.volume import Volume, resample
from brainseg.models.io import conform
from brainseg.models.parcellation import atlas as atlases
from brainseg.models.parcellation import carry, names
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.models.registration import reference, registration
from brainseg.training.evaluation.label_files import read_labels

NAME = "DesikanKilliany"
PROTOCOL = Path(__file__).parents[1] / "training" / "sources" / "neuromorphometrics.tsv"

Regions = dict[str, tuple[str, str]]
"""By region its parcels of Desikan and Killiany, and its regions of the manual protocol."""

Group = tuple[str, list[int], list[int]]
"""A region of one side: name, and its labels in both images. The left side comes first."""

LOBES: Regions = {
    "frontal": (
        "superiorfrontal rostralmiddlefrontal caudalmiddlefrontal parsopercularis parstriangularis "
        "parsorbitalis lateralorbitofrontal medialorbitofrontal frontalpole precentral paracentral",
        "SFG MSFG SMC MFG IFG OpIFG TrIFG OrIFG FO AOrG IOrG LOrG MOrG POrG OFC GRe MFC SCA FRP PrG MPrG "
        "MPoG",
    ),
    "parietal": (
        "postcentral superiorparietal inferiorparietal supramarginal precuneus",
        "PoG SPL AnG SMG PO PCu",
    ),
    "temporal": (
        "superiortemporal middletemporal inferiortemporal bankssts transversetemporal fusiform "
        "parahippocampal entorhinal temporalpole",
        "STG MTG ITG TTG PP PT FuG PHG Ent TMP",
    ),
    "occipital": ("lateraloccipital lingual cuneus pericalcarine", "IOG MOG SOG OCP LiG Cun Calc SCLC"),
    "cingulate": (
        "rostralanteriorcingulate caudalanteriorcingulate posteriorcingulate isthmuscingulate",
        "ACgG MCgG PCgG CgG",
    ),
    "insula": ("insula", "AIns PIns"),
}

SHARED: Regions = {
    "superior frontal": ("superiorfrontal", "SFG MSFG SMC"),
    "middle frontal": ("rostralmiddlefrontal caudalmiddlefrontal", "MFG"),
    "inferior frontal": ("parsopercularis parstriangularis parsorbitalis", "OpIFG TrIFG OrIFG IFG FO"),
    "orbitofrontal": ("lateralorbitofrontal medialorbitofrontal", "AOrG IOrG LOrG MOrG POrG OFC GRe MFC"),
    "precentral": ("precentral", "PrG"),
    "paracentral": ("paracentral", "MPrG MPoG"),
    "postcentral": ("postcentral", "PoG"),
    "superior parietal": ("superiorparietal", "SPL"),
    "inferior parietal": ("inferiorparietal supramarginal", "AnG SMG PO"),
    "precuneus": ("precuneus", "PCu"),
    "superior temporal": ("superiortemporal transversetemporal", "STG TTG PP PT"),
    "middle and inferior temporal": ("middletemporal inferiortemporal bankssts", "MTG ITG"),
    "parahippocampal and entorhinal": ("parahippocampal entorhinal", "PHG Ent"),
    "lateral occipital": ("lateraloccipital", "IOG MOG SOG OCP"),
    "lingual": ("lingual", "LiG"),
    "cuneus": ("cuneus", "Cun SCLC"),
    "pericalcarine": ("pericalcarine", "Calc"),
    "anterior cingulate": ("rostralanteriorcingulate caudalanteriorcingulate", "ACgG"),
    "middle and posterior cingulate": ("posteriorcingulate isthmuscingulate", "MCgG PCgG"),
    "insula": ("insula", "AIns PIns"),
}

NOT_SCORED = "CO OFuG"
"""Manual regions that cross lobes of the other protocol."""

NOT_IN_DKT = ("bankssts", "frontalpole", "temporalpole")
"""Parcels that FreeSurfer's DKT labels divide among their neighbors."""


def ours() -> dict[tuple[str, str], int]:
    """Return the index of every parcel by side and name."""
    found = atlases.load(names.parse(NAME)).parcels
    return {("L" if p.name.startswith("ctx-lh-") else "R", p.name[7:]): p.index for p in found}


def manual() -> dict[tuple[str, str], int]:
    """Return the index of every cortical region of the manual protocol by side and name."""
    with PROTOCOL.open() as file:
        rows = [(row["name"].split(), int(row["index"])) for row in csv.DictReader(file, delimiter="\t")]
    return {(words[0][0], words[2]): index for words, index in rows if words[1:2] == ["cortex"]}


def parcels(scan: Volume) -> Volume:
    """Return the parcels of a scan after the whole pipeline."""
    done = process.process(scan)
    found = done.segmentation
    moving = reference.anatomy(done.corrected, done.brain.mask, found.structures, found.probabilities)
    atlas = atlases.load(names.parse(NAME))
    template = reference.load(atlas.name.space)
    back = registration.register(moving, template, network=registration.NETWORK).inverse
    known = atlases.places(atlas, template.structures, labels.load("adult"))
    return carry.carry(atlas, known, back, found.structures).labels.canonical()


def dice(found: np.ndarray, truth: np.ndarray, pairs: Iterable[list[list[int]]]) -> list[float]:
    """Return the Dice coefficient of groups of labels in two images on one grid.

    Examples
    --------
    >>> dice(np.array([1, 1, 2, 0]), np.array([7, 8, 8, 8]), [[[1], [7]], [[1, 2], [7, 8]]])
    [0.6666666666666666, 0.8571428571428571]
    """
    size = 1 + int(max(found.max(), truth.max()))
    both = np.bincount(found.ravel().astype(np.int64) * size + truth.ravel(), minlength=size**2)
    both = both.reshape(size, size)
    out = []
    for own, other in pairs:
        total = both[own].sum() + both[:, other].sum()
        out.append(float(2 * both[np.ix_(own, other)].sum() / total) if total else float("nan"))
    return out


def of_manual(data: Path) -> str:
    """Return the tables of the scans with manual labels."""
    dk, nmm = ours(), manual()
    groups: list[Group] = [
        (name, [dk[side, word] for word in own.split()], _known(nmm, side, other))
        for regions in (LOBES, SHARED)
        for name, (own, other) in regions.items()
        for side in "LR"
    ]
    left_out = [index for (_, word), index in nmm.items() if word in NOT_SCORED.split()]
    scores = []
    for name, image, file in cases(data):
        found, truth = parcels(conform.read(image)).data.numpy(), read_labels(file).data.numpy()
        scored = ~np.isin(truth, left_out)
        there = np.where(np.isin(truth, list(nmm.values())) & scored, truth, 0)
        scores.append(dice(np.where(scored, found, 0), there, [pair for _, *pair in groups]))
        tables.say(f"{name}: {np.mean(scores[-1]):.3f}")
    rows = _rows(groups, scores)
    about = (
        f"Dice of merged parcels of {NAME} and merged manual labels (Neuromorphometrics), {len(scores)} "
        "scans: mean, and the lowest of them. The borders of the cortex count, too."
    )
    lobes, shared = _table("lobe", rows[: len(LOBES)]), _table("shared region", rows[len(LOBES) :])
    return f"{about}\n\n{lobes}\n\n{shared}"


def of_freesurfer(data: Path, folder: Path) -> str:
    """Return the tables of the heads with FreeSurfer's labels; ``folder`` is for copies of scans."""
    dk = ours()
    single = [word for side, word in dk if side == "L" and word not in NOT_IN_DKT]
    regions = {name: own for name, (own, _) in LOBES.items()} | {word: word for word in single}
    indices = [
        (name, [dk[side, word] for word in own.split()]) for name, own in regions.items() for side in "LR"
    ]
    groups: list[Group] = [(name, own, own) for name, own in indices]
    scores, same = [], []
    for path in sorted(data.glob("sub-*_aparc.DKTatlas+aseg.mgz")):
        found = parcels(scan_of(path.with_name(path.name.replace("aparc.DKTatlas+aseg", "T1")), folder))
        image = nib.load(path)
        file = Volume(torch.from_numpy(np.asanyarray(image.dataobj).astype(np.int32)), image.affine)
        truth = resample(file.canonical(), found.grid, mode="nearest").data.numpy()
        here, truth = found.data.numpy(), np.where(np.isin(truth, list(dk.values())), truth, 0)
        scores.append(dice(here, truth, [pair for _, *pair in groups]))
        same.append(float((here == truth)[(here > 0) & (truth > 0)].mean()))
        tables.say(f"{path.name}: {np.mean(scores[-1]):.3f}")
    rows = _rows(groups, scores)
    about = (
        f"Dice of the parcels of {NAME} and of FreeSurfer's DKT labels, {len(scores)} heads: mean, and the "
        f"lowest of them. {100 * np.mean(same):.0f} % of the common cortex have the same label (by head "
        f"{', '.join(f'{100 * x:.0f} %' for x in same)}); the three parcels that DKT divides among their "
        f"neighbors ({', '.join(NOT_IN_DKT)}) count as different there."
    )
    lobes, parts = _table("lobe", rows[: len(LOBES)]), _table("parcel", rows[len(LOBES) :])
    return f"{about}\n\n{lobes}\n\n{parts}"


def _known(indices: dict[tuple[str, str], int], side: str, words: str) -> list[int]:
    """Return the indices of regions that the protocol has: some are of earlier versions."""
    return [indices[side, word] for word in words.split() if (side, word) in indices]


def _rows(groups: list[Group], scores: list[list[float]]) -> list[list[object]]:
    """Return a row for every region: mean of both sides, and lowest of both sides."""
    mean, least = np.mean(scores, 0), np.min(scores, 0)
    return [
        [groups[k][0], *(float(values[k + side]) for values in (mean, least) for side in (0, 1))]
        for k in range(0, len(groups), 2)
    ]


def _table(title: str, rows: list[list[object]]) -> str:
    means = [float(np.mean([float(str(row[k])) for row in rows])) for k in range(1, 5)]
    header = [title, "left", "right", "left, lowest", "right, lowest"]
    return tables.markdown(header, [["**mean**", *means], *rows])
