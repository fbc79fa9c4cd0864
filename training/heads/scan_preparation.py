"""Preparation of real scans with labels, for scores during training or as training examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...models.errors import InputError
from ...models.geometry.volume import Grid, Volume, resample
from ...models.io import conform
from ...models.localization import head
from ...models.population import label_sets, labels
from ...models.preprocessing import bias
from ...models.segmentation import fusion
from ..data.arrays import write_arrays
from ..evaluation.label_files import read_labels
from ..evaluation.mapping import IGNORED, Mapping
from .validation import NOT_SCORED

LEAST_INSIDE = 0.8
"""Least share of the labeled volume that lies on the scan."""


def prepare_scans(
    pairs: list[tuple[str, Path, Path]],
    out: Path,
    *,
    coarse: str,
    spacing: float,
    stride: int,
    table: str = "adult",
    mapping: Mapping | None = None,
    own_tissues: bool = False,
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
        Mapping of the labels to those of the table.
    own_tissues : bool
        Whether the coarse truth of an example is the tissues of the scan's own intensities (:func:`tissues`),
        which correct labels that an atlas lends; otherwise it follows from the labels.

    Raises
    ------
    InputError
        If the labels are not those of a whole brain in the table, or do not lie on the scan.
    """
    lookup = labels.load(table).lookup("unsided", 256)
    arrays: dict[str, np.ndarray] = {}
    for k, (_, path, reference) in enumerate(pairs):
        scan, truth = conform.read(path).canonical(), read_labels(reference)
        values = truth.data.numpy()
        values = values if mapping is None else mapping.apply(values, reference)
        label_sets.check_whole_brain(values, truth.affine, reference, table)
        mask = resample(
            truth.with_data(torch.from_numpy((values != 0).astype(np.uint8))), scan.grid, "nearest"
        )
        masked = scan.with_data(scan.data * (mask.data > 0))
        _check_overlap(values, mask, truth, reference, path)
        located = _located(masked, coarse, path)
        inputs = fusion.network_inputs(masked, mask, located, spacing, stride)
        classes = np.where(values == IGNORED, NOT_SCORED, lookup[np.clip(values, 0, 255)]).astype(np.uint8)
        on_grid = resample(truth.with_data(torch.from_numpy(classes)), inputs.grid, "nearest")
        arrays[f"x{k}"] = torch.cat([inputs.image[None], inputs.coordinates])[None].half().numpy()
        arrays[f"prior{k}"] = inputs.context[None].half().numpy()
        arrays[f"truth{k}"] = on_grid.data[None].numpy()
        if own_tissues:
            arrays[f"tissue{k}"] = tissues(scan, mask, located, inputs.grid, table)[None].numpy()
    meta = {"names": [name for name, _, _ in pairs], "spacing": spacing}
    write_arrays(out, meta, arrays)


def tissues(scan: Volume, mask: Volume, located: head.Coarse, grid: Grid, table: str = "adult") -> Tensor:
    """Return the tissues of a scan by its intensities: EM with the posteriors of the coarse network as prior.

    Parameters
    ----------
    scan, mask : Volume
        Scan and brain mask on one grid; the scan is corrected for bias first.
    located : Coarse
        Result of the coarse network.
    grid : Grid
        Grid of the result.
    table : str
        Label table of the coarse network.

    Returns
    -------
    Tensor of uint8, shape (X, Y, Z)
        Tissues of the label table ``tissue``; 0 outside the brain.
    """
    known = labels.load(table)
    corrected, _ = bias.correct(scan, mask)
    masked = scan.with_data(torch.where(mask.data > 0, corrected.data.float(), 0.0))
    seen = fusion.sample(masked, mask, grid)
    found = fusion.fitted(seen, located.structures, known, True, [], partial_volume=True).data
    sums = torch.zeros(int(known.tissue_of.max()) + 1, *grid.shape)
    sums.index_add_(0, torch.from_numpy(known.tissue_of).long(), found)
    return torch.where(seen.inside, sums.argmax(0), 0).to(torch.uint8)


def _located(masked: Volume, coarse: str, path: Path) -> head.Coarse:
    """Return the result of the coarse network."""
    try:
        return head.find(masked, model=coarse)
    except InputError as error:
        raise InputError(error.path or path, error.reason, error.remedy) from None


def _check_overlap(values: np.ndarray, mask: Volume, truth: Volume, path: Path, scan: Path) -> None:
    """Refuse labels most of which lie outside the scan."""
    volume = float((values != 0).sum()) * truth.grid.voxel_volume
    inside = float((mask.data > 0).sum()) * mask.grid.voxel_volume
    if inside < LEAST_INSIDE * volume:
        raise InputError(
            path,
            f"only {100 * inside / volume:.0f} % of the labels lie on the scan {scan.name}",
            "Give labels in the space of the scan",
        )
