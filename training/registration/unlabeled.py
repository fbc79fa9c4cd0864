"""Pairs of real scans without labels, which a registration network learns to align by their intensities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.diffeomorphic import shares
from ...models.deformation.warp import Warp
from ...models.errors import InputError, UsageError
from ...models.geometry.volume import Grid
from ...models.io import conform
from ...models.pipeline import process
from ...models.population import labels
from ...models.registration import features, linear
from ...models.templates import bundled
from ..core.example import Example
from ..data.arrays import write_arrays
from ..synthesis.deformation import uniform
from .pairs import BrainPairs

LEAST = 2
"""Fewest scans."""


def prepare(scans: Sequence[Path], out: Path, shape: Sequence[int], spacing: float) -> None:
    """Write the brains of scans in one frame: structures that the networks find, and intensities.

    Parameters
    ----------
    scans : sequence of Path
        Scans of adults, two or more.
    out : Path
        File to write (npz); it contains images of people, so do not share it.
    shape, spacing : sequence of int, float
        Grid of the registration network: number of voxels and voxel size (mm). Structures are stored on
        voxels of half the size.

    Raises
    ------
    UsageError
        If there are too few scans.
    InputError
        If a scan cannot be used.
    """
    if len(scans) < LEAST:
        raise UsageError(None, f"{len(scans)} scans make no pair", f"Give {LEAST} or more")
    template = bundled.load(bundled.DEFAULT)
    grid = _grid(template, shape, spacing / 2)
    arrays: dict[str, np.ndarray] = {}
    for k, path in enumerate(scans):
        try:
            done = process.process(conform.read(path), "adult")
        except InputError as error:
            raise InputError(error.path or path, error.reason, error.remedy) from None
        brain = done.anatomy
        matrix = linear.align(brain.centroids, template.centroids).matrix
        place = Warp((np.linalg.inv(matrix),))
        inside = place.resample(brain.mask.with_data(brain.mask.data.float()), grid, "linear").data > 0.5
        image = place.resample(brain.image, grid, "linear").data * inside
        arrays[f"ids{k}"] = place.resample(brain.structures, grid, "nearest").data.to(torch.int16).numpy()
        values = torch.cat(features.intensities(image, inside.float()))
        arrays[f"image{k}"] = F.avg_pool3d(values, 2).half().numpy()
        print(f"{path.name}: aligned", flush=True)
    meta = {"names": [path.name for path in scans], "shape": list(shape), "spacing": spacing}
    write_arrays(out, meta, arrays)


def _grid(template: bundled.Template, shape: Sequence[int], spacing: float) -> Grid:
    """Return the fine grid around the middle of the template's brain."""
    where = np.argwhere(template.mask.data.numpy() > 0)
    middle = template.mask.affine[:3, :3] @ ((where.min(0) + where.max(0)) / 2) + template.mask.affine[:3, 3]
    count = 2 * np.array(shape)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = middle - (count - 1) * spacing / 2
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


class ScanPairs:
    """Examples of a registration network, of which a share is of real scans.

    Parameters
    ----------
    synthetic : BrainPairs
        Source of the synthetic examples; defines grid and structures.
    path : Path
        Scans from :func:`prepare`.
    share : float
        Share of the draws that are real.

    Raises
    ------
    InputError
        If the scans were prepared for another grid.
    """

    def __init__(self, synthetic: BrainPairs, path: Path, share: float) -> None:
        self.synthetic, self.share, self.repeat = synthetic, share, synthetic.repeat
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            wanted = {"shape": list(synthetic.shape), "spacing": synthetic.spacing}
            if {key: meta.get(key) for key in wanted} != wanted:
                reason = f"the scans are on another grid than the recipe's {wanted}"
                raise InputError(path, reason, "Prepare them with brainseg train unlabeled and this recipe")
            count = len(meta["names"])
            self.scans = [
                (torch.from_numpy(arrays[f"ids{k}"]).long(), torch.from_numpy(arrays[f"image{k}"]).float())
                for k in range(count)
            ]
        self.class_of, self.mirrored_of = _classes(synthetic.classes)

    def examples(self, number: int | None = None) -> list[Example]:
        """Return examples of a random draw, real or synthetic, or of the heads from ``number`` on."""
        if number is not None or uniform(0, 1) >= self.share:
            return self.synthetic.examples(number)
        out = []
        for _ in range(self.repeat):
            both = [self.scans[k] for k in torch.randperm(len(self.scans))[:2].tolist()]
            mirrored = uniform(0, 1) < 0.5
            (a, labels_a), (b, labels_b) = (self._brain(ids, image, mirrored) for ids, image in both)
            targets = {"moving": labels_a[None], "fixed": labels_b[None]}
            targets["images"] = torch.stack([a[-2], b[-2]])[None]
            out.append(Example(torch.cat([a, b])[None], None, targets))
        return out

    def _brain(self, ids: Tensor, image: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Return the input channels of a brain, and the maps of its structures."""
        if mirrored:
            ids, image = ids.flip(0), image.flip(1)
        device = self.synthetic.group_of.device
        position = (self.mirrored_of if mirrored else self.class_of)[ids.clamp(0, len(self.class_of) - 1)]
        truth = shares(position, len(self.synthetic.classes) + 1)[:-1].to(device)
        groups = truth.new_zeros(len(features.GROUPS) + 1, *self.synthetic.shape)
        groups.index_add_(0, self.synthetic.group_of[:-1], truth)
        return torch.cat([groups[:-1], image.to(device)]), truth


def _classes(classes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Return the class of every FreeSurfer id, and that of its counterpart on the other side.

    Parameters
    ----------
    classes : sequence of tuple of int
        Unsided structure and side (1 left, 0 right, -1 none) of every class; other ids get the last number.
    """
    table = labels.load("adult")
    unsided = np.array(table.unsided)[table.lookup("unsided")]
    tables = [torch.full((len(unsided),), len(classes)) for _ in range(2)]
    for label in table:
        side = -1 if label.partner == label.index else int(label.index < label.partner)
        name = (int(unsided[label.index]), side)
        other = (name[0], 1 - side if side >= 0 else side)
        for one, key in zip(tables, (name, other), strict=True):
            if key in classes:
                one[label.index] = list(classes).index(key)
    return tables[0], tables[1]
