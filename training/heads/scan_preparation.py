"""Preparation of real scans with labels, for scores during training or as training examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...models.geometry.volume import resample
from ...models.io import conform
from ...models.localization import head
from ...models.population import labels
from ...models.segmentation import fusion
from ..data.arrays import write_arrays
from ..evaluation.label_files import read_labels
from ..evaluation.mapping import IGNORED, Mapping
from .validation import NOT_SCORED


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
    """Write the inputs of a cascade for real scans, with the labels on its grid.

    Parameters
    ----------
    pairs : list of tuple
        Name, scan and label image of every case.
    out : Path
        File to write (npz); it contains images of people, so do not share it.
    coarse : str
        Weights of the coarse network.
    spacing, stride : float, int
        Voxel size (mm) of the last stage, and stride of the network, of which the sides are multiples.
    table : str
        Label table.
    mapping : Mapping, optional
        Mapping of the labels to FreeSurfer ids.
    """
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
        located = head.find(masked, model=coarse)
        inputs = fusion.network_inputs(masked, mask, located, spacing, stride)
        classes = np.where(values == IGNORED, NOT_SCORED, lookup[np.clip(values, 0, 255)]).astype(np.uint8)
        on_grid = resample(truth.with_data(torch.from_numpy(classes)), inputs.grid, "nearest")
        arrays[f"x{k}"] = torch.cat([inputs.image[None], inputs.coordinates])[None].half().numpy()
        arrays[f"prior{k}"] = inputs.context[None].half().numpy()
        arrays[f"truth{k}"] = on_grid.data[None].numpy()
    meta = {"names": [name for name, _, _ in pairs], "spacing": spacing}
    write_arrays(out, meta, arrays)
