"""Derivatives in the output spaces: images, transforms in both directions, and their sidecars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ...models.deformation.warp import Placed
from ...models.geometry.volume import Grid, Volume, box
from ...models.io import itk, outputs
from ...models.population import labels
from ...models.registration import reference
from ...models.templates import spaces
from ..registration import Alignment
from . import derivatives, files, rounding
from .derivatives import Names

REFERENCES = {
    "MNI152NLin2009cAsym": "https://templateflow.s3.amazonaws.com/"
    "tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz",
    "MNI152NLin2009aSym": "https://osf.io/7pj92",
}
"""Address of a template's image or description."""

EDGE = 3
"""Margin (voxels) around the brain in which labels and probabilities are computed, which reach beyond its
mask."""

DESCRIPTIONS = {
    "deep": "Affine and diffeomorphic (stationary velocity field)",
    "ants": "Affine, and diffeomorphic by SyN of ANTs with its default settings",
    "none": "Affine in ITK's convention, fitted to the centroids and maps of the structures",
    "given": "Precomputed, unchanged",
}


@dataclass(frozen=True)
class Native:
    """An image and its results on its own grid."""

    preproc: Volume
    mask: Volume
    structures: Volume
    probabilities: dict[str, Volume]
    on_disk: np.dtype


@dataclass(frozen=True)
class InSpace:
    """A participant-session in one output space.

    Parameters
    ----------
    names : Names
        Names of the files of the participant-session.
    found : Alignment
        Its registration to the space.
    """

    names: Names
    found: Alignment

    @cached_property
    def space(self) -> spaces.Space:
        """Return the output space."""
        return spaces.parse(self.found.space)

    @cached_property
    def own(self) -> Names:
        """Return the names with the space as their template."""
        return replace(self.names, template=self.found.space)

    @cached_property
    def grid(self) -> Grid:
        """Return the grid of the template."""
        return reference.grid_of(self.found.space)

    def images(
        self, scan: Native, leave_out: tuple[str, ...] = (), smooth: float = 0.0
    ) -> Iterator[Callable[[], Path]]:
        """Return functions that write the images, each as soon as its image is there.

        Probabilities are interpolated, and labels are the most probable ones.

        Parameters
        ----------
        scan : Native
            Results on the grid of the source image.
        leave_out : tuple of str
            Steps that are off.
        smooth : float
            Width (mm, full at half maximum) of the Gaussian that smooths modulated maps; 0 for none.
        """
        code = 4 if self.space.name.startswith("MNI152") else 2  # MNI152, or aligned to something else
        for end, values in self._arrays(scan, leave_out, smooth):
            path = self.own.path(self.own.in_space(end))
            yield partial(files.write_image, path, values, self.grid.affine, code)

    def _arrays(
        self, scan: Native, leave_out: tuple[str, ...], smooth: float
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Return the ending and the values of every image."""
        names = [name for name in labels.DSEG_NAMES if name in scan.probabilities]
        # Once for all images: it takes most of the time.
        placed = self.found.forward.placed(self.grid)
        preproc, brain = placed.resample(_stacked(scan.preproc, scan.mask)).data.numpy()
        inside = brain > 0.5
        yield self.own.preproc, rounding.as_stored(preproc, scan.on_disk)
        yield _typed("mask", inside)
        del preproc, brain
        window = self._around(inside, float(max(scan.mask.grid.spacing)))
        brain = inside[window]

        def whole(name: str, values: np.ndarray, **entities: str) -> tuple[str, np.ndarray]:
            output = outputs.load()[name]
            out = np.zeros(self.grid.shape, output.dtype)
            out[window] = values
            return output.ending(**entities), out

        native = _within_brain(scan, names)
        carried = placed.resample(native, window=window).data.numpy()
        maps = carried * brain
        yield whole("dseg", (maps.argmax(0) + 1) * brain)
        if "posteriors" not in leave_out:
            total = np.maximum(maps.sum(0), 1e-3)
            for name, values in zip(names, maps, strict=True):
                yield whole("probseg", rounding.as_probability(values / total * brain), label=name)
        del maps
        yield whole("structures", self._labels(scan.structures, placed, window))
        if {"jacobian", "vbm"} <= set(leave_out):
            return
        change = placed.jacobian().data.numpy()
        if "jacobian" not in leave_out:
            yield _typed("jacobian", change)
        if "vbm" not in leave_out:
            where = window
            if not _holds_all(native, scan, names):
                where = slice(None), slice(None), slice(None)
                carried = placed.resample(_stacked(*(scan.probabilities[n] for n in names))).data.numpy()
            yield from self._modulated(dict(zip(names, carried, strict=True)), where, change, smooth).items()

    def _modulated(
        self,
        maps: Mapping[str, np.ndarray],
        window: tuple[slice, slice, slice],
        change: np.ndarray,
        smooth: float,
    ) -> dict[str, np.ndarray]:
        """Return the modulated probabilities of gray and white matter by ending, not cut by the mask.

        ``maps`` are the probabilities in a window of the grid, zero elsewhere, and ``change`` is the change
        of volume on the grid.
        """
        out = {}
        for name in outputs.load()["modulated"].labels:
            if name not in maps:
                continue
            values = maps[name]
            modulated = np.zeros(self.grid.shape, np.float32)
            modulated[window] = values * np.clip(change[window], 0, None)
            out[outputs.ending("modulated", label=name)] = modulated
            if smooth:
                sigma = smooth / math.sqrt(8 * math.log(2)) / self.grid.spacing
                blurred = ndimage.gaussian_filter(modulated, sigma, mode="constant", truncate=3.0)
                out[outputs.ending("smoothed", label=name)] = blurred.astype(np.float32)
        return out

    def _labels(self, structures: Volume, placed: Placed, window: tuple[slice, slice, slice]) -> np.ndarray:
        """Return the labels on a part of the template's grid, from their box in the image."""
        if bool((structures.data > 0).any()):
            structures = structures.crop(*box(structures, 2 * float(max(structures.grid.spacing))))
        return placed.resample(structures, "label", window=window).data.numpy()

    def _around(self, inside: np.ndarray, size: float) -> tuple[slice, slice, slice]:
        """Return the window around the brain, with a margin for what surrounds it.

        ``size`` is the voxel size (mm) of the image, up to which interpolated values reach beyond the brain.
        """
        if not inside.any():
            return slice(0, 1), slice(0, 1), slice(0, 1)
        mask = Volume(torch.from_numpy(inside), self.grid.affine)
        start, shape = box(mask, EDGE * max(size, float(max(self.grid.spacing))))
        x, y, z = (
            slice(max(a, 0), min(a + n, size))
            for a, n, size in zip(start, shape, self.grid.shape, strict=True)
        )
        return x, y, z

    def transforms(self) -> list[Callable[[], Path]]:
        """Return functions that write the transforms in both directions."""
        return [
            partial(
                files.write_binary, self.own.path(self.own.transform(forward)), partial(itk.write, warp=warp)
            )
            for forward, warp in ((True, self.found.forward), (False, self.found.inverse))
        ]

    def sidecars(
        self, native: dict[str, dict[str, Any]], leave_out: tuple[str, ...] = (), smooth: float = 0.0
    ) -> dict[str, dict[str, Any]]:
        """Return the sidecars of the derivatives in the space.

        Parameters
        ----------
        native : dict of str to dict
            Sidecars of the native results, by ending.
        leave_out : tuple of str
            Steps that are off.
        smooth : float
            Width (mm) of the Gaussian that smooths modulated maps; 0 for none.

        Returns
        -------
        dict of str to dict
            Contents by the ending of their file.
        """
        out = {self.own.transform(forward): self._of_transform(forward) for forward in (True, False)}
        if "template-outputs" in leave_out:
            return out
        moved = self.own.uri(self.own.transform(True))
        endings = [self.own.preproc, *map(outputs.ending, ("mask", "dseg", "structures"))]
        if "posteriors" not in leave_out:
            endings += [outputs.ending("probseg", label=name) for name in labels.DSEG_NAMES]
        for ending in endings:
            content = {k: v for k, v in native[ending].items() if k != "RawSources"}
            content["Description"] = f"{content['Description']}; resampled to {self.space.label}"
            content["Sources"] = [self.own.uri(self.own.native(ending)[0]), moved]
            content["SpatialReference"] = self._reference()
            out[self.own.in_space(ending)] = content
        more: dict[str, dict[str, Any]] = {}
        if "jacobian" not in leave_out:
            more[outputs.ending("jacobian")] = {**derivatives.described("jacobian"), "Sources": [moved]}
        for kind in () if "vbm" in leave_out else ("modulated", *(["smoothed"] if smooth else [])):
            for name in outputs.load()[kind].labels:
                whole = "posteriors" not in leave_out  # else the probabilities are not stored
                origin = outputs.ending("probseg", label=name) if whole else outputs.ending("structures")
                source = self.own.uri(self.own.native(origin)[0])
                width = {"FWHM": smooth, "FWHMUnits": "mm"} if kind == "smoothed" else {}
                about = {**derivatives.described(kind, label=name), "Sources": [source, moved], **width}
                more[outputs.ending(kind, label=name)] = about
        for ending, content in more.items():
            out[self.own.in_space(ending)] = content | {"SpatialReference": self._reference()}
        return out

    def _reference(self) -> str:
        known = REFERENCES.get(self.space.name)
        if known or self.space.path is None:
            return known or self.space.label
        found = spaces.find(self.space) if self.space.path.is_dir() else None
        return found.image.name if found else self.space.path.name

    def _of_transform(self, forward: bool) -> dict[str, Any]:
        uris = self.found.sources
        native = self.own.uri(self.own.native(outputs.ending("structures"))[0])
        return {
            "Description": DESCRIPTIONS[self.found.engine],
            "Sources": [uris[0 if forward else 1] if uris else native],
            "SpatialReference": self._reference(),
            "MedianResidual": round(self.found.error_mm, 3),
            "MedianResidualUnits": "mm",
            "FoldingVoxels": round(self.found.folds, 7),
        }


def _within_brain(scan: Native, names: list[str]) -> Volume:
    """Return the probabilities by tissue in the box of the brain; outside the brain they are zero."""
    maps = [scan.probabilities[name] for name in names]
    if bool((scan.mask.data > 0).any()):
        around = box(scan.mask, 2 * float(max(scan.mask.grid.spacing)))
        maps = [one.crop(*around) for one in maps]
    return _stacked(*maps)


def _holds_all(part: Volume, scan: Native, names: list[str]) -> bool:
    """Return whether a part of the probabilities has all that are not zero; given ones may have more."""
    pairs = zip(part.data, names, strict=True)
    return all(
        int(one.count_nonzero()) == int(scan.probabilities[n].data.count_nonzero()) for one, n in pairs
    )


def _stacked(*volumes: Volume) -> Volume:
    """Return volumes on one grid as one of several channels, float32."""
    return volumes[0].with_data(torch.stack([volume.data.float() for volume in volumes]))


def _typed(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the ending of an output and its values in the type of the output."""
    output = outputs.load()[name]
    return output.ending(), values.astype(output.dtype)
