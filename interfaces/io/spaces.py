"""What the outputs node writes in template space: images, transforms both ways, and their sidecars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...models.geometry.volume import Grid, Volume
from ...models.io import itk
from ...models.population import labels
from ...models.registration import reference
from ...models.templates import spaces
from ..registration import Alignment
from . import derivatives, files
from .derivatives import Names

MASK, DSEG, ASEG, JACOBIAN = (
    "desc-brain_mask.nii.gz",
    "dseg.nii.gz",
    "desc-aseg_dseg.nii.gz",
    "jacobian.nii.gz",
)
DESCRIPTIONS = {
    "deep": "Affine and diffeomorphic (stationary velocity field)",
    "ants": "Affine, and diffeomorphic by SyN of ANTs with its default settings",
    "none": "Affine in ITK's convention, fitted to the centroids and maps of the structures",
    "given": "Given, and used as it is",
}


@dataclass(frozen=True)
class Native:
    """A scan and what was found in it, to be brought into a space."""

    preproc: Volume
    mask: Volume
    structures: Volume
    probabilities: dict[str, Volume]
    on_disk: np.dtype


@dataclass(frozen=True)
class InSpace:
    """One unit in one output space.

    Parameters
    ----------
    names : Names
        Those of the unit.
    found : Alignment
        Its alignment with the space.
    """

    names: Names
    found: Alignment

    @cached_property
    def space(self) -> spaces.Space:
        """The output space."""
        return spaces.parse(self.found.space)

    @cached_property
    def own(self) -> Names:
        """Names with that space as their template."""
        return replace(self.names, template=self.found.space)

    @cached_property
    def grid(self) -> Grid:
        """The template's."""
        return reference.grid_of(self.found.space)

    def images(self, scan: Native, leave_out: tuple[str, ...] = ()) -> list[Callable[[], Path]]:
        """What writes each image; probabilities are interpolated, and of labels the maps."""
        names = [name for name in labels.DSEG_NAMES if name in scan.probabilities]
        stack = [scan.preproc, scan.mask, *(scan.probabilities[name] for name in names)]
        # Together, because finding the points is what takes time.
        together = scan.preproc.with_data(torch.stack([volume.data.float() for volume in stack]))
        preproc, brain, *shares = self.found.forward.resample(together, self.grid).data.numpy()
        inside = brain > 0.5
        maps = {name: values * inside for name, values in zip(names, shares, strict=True)}
        dseg = (np.stack(list(maps.values())).argmax(0) + 1) * inside
        aseg = self.found.forward.resample(scan.structures, self.grid, "label").data.numpy()
        data = {
            self.own.preproc: derivatives.as_stored(preproc, scan.on_disk),
            MASK: inside.astype(np.uint8),
            DSEG: dseg.astype(np.int16),
            ASEG: aseg.astype(np.int16),
        }
        if "posteriors" not in leave_out:
            total = np.maximum(sum(maps.values()), 1e-3)
            for name, values in maps.items():
                data[f"label-{name}_probseg.nii.gz"] = derivatives.as_probability(values / total * inside)
        if "jacobian" not in leave_out:
            data[JACOBIAN] = self.found.forward.jacobian(self.grid).data.numpy().astype(np.float32)
        code = 4 if self.space.name.startswith("MNI152") else 2  # MNI152, or aligned to something else
        return [
            partial(files.write_image, self.own.path(self.own.in_space(end)), values, self.grid.affine, code)
            for end, values in data.items()
        ]

    def transforms(self) -> list[Callable[[], Path]]:
        """What writes the transforms both ways."""
        return [
            partial(files.write_binary, self.own.path(self.own.transform(way)), partial(itk.write, warp=warp))
            for way, warp in ((True, self.found.forward), (False, self.found.inverse))
        ]

    def sidecars(
        self, native: dict[str, dict[str, Any]], leave_out: tuple[str, ...] = ()
    ) -> dict[str, dict[str, Any]]:
        """Sidecars by the ending of what they describe, from those of the native results."""
        out = {self.own.transform(way): self._of_transform(way) for way in (True, False)}
        if "template-outputs" in leave_out:
            return out
        moved = self.own.uri(self.own.transform(True))
        endings = [self.own.preproc, MASK, DSEG, ASEG]
        if "posteriors" not in leave_out:
            endings += [f"label-{name}_probseg.nii.gz" for name in labels.DSEG_NAMES]
        for ending in endings:
            content = {k: v for k, v in native[ending].items() if k != "RawSources"}
            content["Description"] = f"{content['Description']}; resampled to {self.space.label}"
            content["Sources"] = [self.own.uri(self.own.native(ending)[0]), moved]
            content["SpatialReference"] = self._reference()
            out[self.own.in_space(ending)] = content
        if "jacobian" not in leave_out:
            out[self.own.in_space(JACOBIAN)] = {
                "Description": "Determinant of the transform's Jacobian: above one the participant is larger "
                "there than the template",
                "Sources": [moved],
                "SpatialReference": self._reference(),
            }
        return out

    def _reference(self) -> str:
        known = derivatives.REFERENCES.get(self.space.name)
        if known or self.space.path is None:
            return known or self.space.label
        found = spaces.find(self.space) if self.space.path.is_dir() else None
        return found.image.name if found else self.space.path.name

    def _of_transform(self, forward: bool) -> dict[str, Any]:
        given = self.found.sources
        return {
            "Description": DESCRIPTIONS[self.found.engine],
            "Sources": [given[0 if forward else 1] if given else self.own.uri(self.own.native(ASEG)[0])],
            "SpatialReference": self._reference(),
            "MedianResidual": round(self.found.error_mm, 3),
            "MedianResidualUnits": "mm",
            "FoldingVoxels": round(self.found.folds, 7),
        }
