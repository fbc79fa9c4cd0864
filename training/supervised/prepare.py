"""Preparation of images with labels as arrays, on the grid and in the intensities that the network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ...models.errors import InputError
from ...models.geometry.volume import Volume, resample
from ...models.io import conform
from ...models.localization import head
from ...models.population import label_sets, populations
from ...models.population.labels import LabelTable
from ...models.preprocessing import bias
from ...models.segmentation import segmentation, skullstrip
from ...models.segmentation.own import tissues
from ...models.segmentation.own.inputs import inputs
from ..data import tiff_slices
from ..data.arrays import write_arrays
from ..evaluation.label_files import read_labels
from .cases import Case

LEAST_INSIDE = 0.8
"""Least share of the labeled volume that lies on the image."""


def prepare(
    cases: Sequence[Case],
    out: Path,
    table: LabelTable,
    spec: Mapping[str, Any],
    spacing: float | str | Sequence[float],
    *,
    stride: int = 2,
    coarse: str | None = None,
) -> None:
    """Write prepared arrays of cases.

    Parameters
    ----------
    cases : sequence of Case
        The cases.
    out : Path
        File to write (npz); it contains images of people, so do not share it.
    table : LabelTable
        Labels; others are refused.
    spec : mapping
        ``use`` and the values of :data:`brainseg.models.segmentation.own.inputs.DEFAULTS`.
    spacing : float, sequence of float or str
        Voxel size (mm), or ``acquired``: that of every image.
    stride, coarse
        Stride and coarse network of a cascade.

    Raises
    ------
    InputError
        If a file cannot be used, or a label is not in the table.
    """
    arrays: dict[str, np.ndarray] = {}
    position = {label.index: k for k, label in enumerate(table)}
    for k, case in enumerate(cases):
        images, truth = read(case, spec["contrasts"])
        _check_labels(truth, table, case)
        brain = _brain(case, images, truth, str(spec["use"]))
        given = _tissues(images[0], brain, str(spec["tissues"])) if spec["tissues"] else []
        made = inputs(images, brain, spec, spacing, stride=stride, coarse=coarse, tissues=given)
        values = truth.data.numpy()
        classes = np.zeros(values.shape, np.uint8)
        for index, place in position.items():
            classes[values == index] = place
        on_grid = resample(truth.with_data(torch.from_numpy(classes)), made.grid, "nearest")
        arrays[f"x{k}"] = made.x.half().numpy()
        arrays[f"truth{k}"] = on_grid.data.numpy()
        if made.prior is not None:
            arrays[f"prior{k}"] = made.prior.half().numpy()
        print(f"{case.name}: {' x '.join(map(str, made.grid.shape))} voxels", flush=True)
    size = spacing if isinstance(spacing, str) else np.broadcast_to(np.asarray(spacing, float), (3,)).tolist()
    meta = {"names": [case.name for case in cases], "spacing": size, "labels": list(position)}
    if spec["tissues"]:
        meta[tissues.SEEN] = tissues.weights(str(spec["tissues"]))
    write_arrays(out, meta, arrays)


def read(case: Case, contrasts: Sequence[str]) -> tuple[list[Volume], Volume]:
    """Return the images and the labels of a case.

    Raises
    ------
    InputError
        If a file cannot be used, or slices have fewer channels than there are contrasts.
    """
    if case.labels.is_dir():
        images, truth = tiff_slices.read(case.labels)
        return tiff_slices.of_contrasts(images, contrasts, case.labels), truth
    least = min(conform.LEAST_MM, 1.0)
    return [conform.read(path, least) for path in case.images], read_labels(case.labels)


def _tissues(image: Volume, brain: Volume, population: str) -> list[Volume]:
    """Return the tissues that the program finds in an image, as in a run."""
    corrected, _ = bias.correct(image, brain)
    region = skullstrip.around(image, brain, population)
    found = segmentation.segment(corrected, brain, populations.load(population), region=region)
    return tissues.channels(found.probabilities, found.structures)


def _check_labels(truth: Volume, table: LabelTable, case: Case) -> None:
    """Refuse labels that are not in the table, and a case without any."""
    found = set(np.unique(truth.data.numpy()).tolist()) - {0}
    unknown = found - set(table.by_index)
    known = label_sets.shown(label.index for label in table if label.index)
    if unknown:
        reason = f"the labels {label_sets.shown(unknown)} are not in the label table ({known})"
        raise InputError(case.labels, reason, "Add them to the table (--table), or correct the image")


def _brain(case: Case, images: list[Volume], truth: Volume, use: str) -> Volume:
    """Return the brain mask of a case on the grid of its first image."""
    grid = images[0].grid
    labeled = resample(truth.with_data((truth.data > 0).float()), grid).data > 0.5
    if case.brain is not None:
        given = conform.read(case.brain, 1.0)
        inside = resample(given.with_data((given.data > 0).float()), grid).data > 0.5
        where = case.brain
    elif use == "labels":
        # As in the chain: the labels' own border would tell the network what it has to find.
        try:
            inside = _found(case, images[0])
        except InputError as error:
            print(f"note: {case.name}: {error.reason}; the labels, with their holes, are its brain mask")
            inside = torch.from_numpy(ndimage.binary_fill_holes(labeled.numpy()))
        where = case.labels
    elif use == "lesion":
        inside, where = _found(case, images[0]), case.labels
    else:
        inside, where = labeled, case.labels
    if not bool(inside.any()):
        raise InputError(
            where, "there is no labeled voxel on the image", "Give labels in the space of the image"
        )
    share = float((labeled & inside).sum()) / max(float(labeled.sum()), 1.0)
    if share < LEAST_INSIDE and use != "lesion":
        reason = f"only {100 * share:.0f} % of the labels lie in the brain mask"
        raise InputError(case.labels, reason, "Give labels in the space of the image")
    return Volume(inside.to(torch.uint8), grid.affine)


def _found(case: Case, image: Volume) -> torch.Tensor:
    """Return the brain of an image without mask; of slices without geometry all that is bright."""
    if case.labels.is_dir():
        return tiff_slices.bright(image)
    if head.field_of_view(image).min() < conform.LEAST_MM:
        return image.data != 0
    return skullstrip.skullstrip(image).mask.data > 0
