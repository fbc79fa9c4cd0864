"""Scores during training: synthetic heads of maps that never train, and real scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...models.io import atomic
from ..evaluation.metrics import dice_by_class
from .examples import Cascade, Example, WholeHead

if TYPE_CHECKING:
    from ..core.trainer import Trainer
    from ..evaluation.segmentation import Mapping

NOT_SCORED = 255
"""Value of voxels of prepared scans that count neither for nor against."""


def synthetic_scores(run: Trainer, source: WholeHead | Cascade, heads: int) -> dict[str, float]:
    """Dice by structure (FreeSurfer id without side), of the ``mask``, and the structures' ``mean``."""
    scores: dict[str, list[float]] = {}
    for number in range(heads):
        example = source.examples(number)[0]
        out = run.forward(example)
        if "structure" in out:
            found = dice_by_class(out["structure"][0].argmax(1), example.targets["structure"])
            for k, v in found.items():
                scores.setdefault(str(run.table.unsided[k]), []).append(v)
        if "distance" in run.recipe.losses:
            inside = out["mask"][0][:, 0] > 0
            truth = example.targets["distance"] > 0
            overlap = 2 * (inside & truth).sum() / (inside.sum() + truth.sum())
            scores.setdefault("mask", []).append(float(overlap))
    return _means(scores)


def _means(scores: dict[str, list[float]]) -> dict[str, float]:
    mean = {k: sum(v) / len(v) for k, v in scores.items()}
    structures = [v for k, v in mean.items() if k != "mask"]
    if structures:
        mean["mean"] = sum(structures) / len(structures)
    return mean


class Scans:
    """Real scans with labels, prepared for one recipe (:func:`prepare_scans`).

    Parameters
    ----------
    path : Path
        The arrays.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.arrays = {k: arrays[k] for k in arrays if k != "meta"}
            self.names = json.loads(str(arrays["meta"]))["names"]

    def __len__(self) -> int:
        return len(self.names)

    def scores(self, run: Trainer) -> dict[str, float]:
        """Dice by structure and their mean, of the network alone at its own voxel size."""
        scores: dict[str, list[float]] = {}
        for k in range(len(self)):
            x, prior, truth = (
                torch.from_numpy(self.arrays[f"{name}{k}"]) for name in ("x", "prior", "truth")
            )
            example = Example(x.float().to(run.device), prior.float().to(run.device), {})
            found = run.forward(example)["structure"][0].argmax(1).cpu()
            counts = truth != NOT_SCORED
            for structure, value in dice_by_class(found[counts], truth[counts]).items():
                scores.setdefault(str(run.table.unsided[structure]), []).append(value)
        return _means(scores)


def prepare_scans(
    pairs: list[tuple[str, Path, Path]],
    out: Path,
    *,
    coarse: str,
    spacing: float,
    stride: int,
    table: str = "adult",
    mapping: Mapping | None = None,
) -> None:
    """Write what a cascade sees of real scans, with their labels on its grid.

    Parameters
    ----------
    pairs : list of tuple
        Name, scan and label image of every case; labels are FreeSurfer ids after ``mapping``.
    out : Path
        File to write (npz); it holds images, so it is for the machine that trains and nothing else.
    coarse : str
        Weights whose posteriors the cascade sees.
    spacing, stride : float, int
        Voxel size (mm) of the last stage, and what the grid's sides are a multiple of.
    table : str
        Label table.
    mapping : Mapping, optional
        Labels of another protocol in terms of ours.
    """
    from ...models.geometry.volume import resample
    from ...models.io import conform
    from ...models.localization import head as look
    from ...models.population import labels
    from ...models.segmentation import fusion
    from ..evaluation.segmentation import IGNORED, read_labels

    lookup = labels.load(table).lookup("unsided", 256)
    arrays: dict[str, np.ndarray] = {}
    for k, (_, path, reference) in enumerate(pairs):
        scan, truth = conform.read(path).canonical(), read_labels(reference)
        values = truth.data.numpy()
        values = values if mapping is None else mapping.apply(values, reference)
        mask = resample(
            truth.with_data(torch.from_numpy((values != 0).astype(np.uint8))), scan.grid, "nearest"
        )
        masked = scan.with_data(scan.data * (mask.data > 0))
        seen = look.look(masked, model=coarse)
        inputs = fusion.network_inputs(masked, mask, seen, spacing, stride)
        classes = np.where(values == IGNORED, NOT_SCORED, lookup[np.clip(values, 0, 255)]).astype(np.uint8)
        on_grid = resample(truth.with_data(torch.from_numpy(classes)), inputs.grid, "nearest")
        arrays[f"x{k}"] = torch.cat([inputs.image[None], inputs.coordinates])[None].half().numpy()
        arrays[f"prior{k}"] = inputs.context[None].half().numpy()
        arrays[f"truth{k}"] = on_grid.data[None].numpy()
    meta = {"names": [name for name, _, _ in pairs], "spacing": spacing}
    with atomic.replacing(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, meta=np.array(json.dumps(meta)), **arrays)
