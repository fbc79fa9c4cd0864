"""The pictures of one unit, drawn from its derivatives, and what was measured while drawing them.

They go to ``sub-01/figures``; what was measured goes beside them, so that a page can be written again without
reading an image as long as the derivatives stay the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from ...models.io.atomic import write_text
from .. import __version__
from . import mosaic, viewer
from .derivatives import Result, read_json
from .mosaic import Mosaic, Scan
from .sections import coregistration, hippocampus, lesion, registration

MASK_COLOR = (255, 176, 0)
TISSUE_COLORS = {1: (230, 97, 114), 2: (245, 245, 245), 3: (86, 156, 255)}
DSEG_NAMES = {1: "grey matter", 2: "white matter", 3: "CSF"}
IMAGES = (
    "desc-preproc_*.nii.gz",
    "desc-brain_mask.nii.gz",
    "dseg.nii.gz",
    "desc-aseg_dseg.nii.gz",
    "desc-tissue_dseg.nii.gz",
)


def draw(result: Result) -> dict[str, Any]:
    """Draw the pictures of a unit, unless those that are there show the same derivatives.

    Parameters
    ----------
    result
        The unit.

    Returns
    -------
    What the page needs to know: names of the pictures by section, facts about the grid, measures, and under
    ``problems`` the sections that could not be drawn, with the reason.
    """
    path = result.figures / f"{result.key}_desc-report_facts.json"
    stamp = _stamp(result)
    facts = read_json(path)
    pictures = [name for names in facts.get("pictures", {}).values() for name in names.values()]
    if facts.get("stamp") == stamp and all((result.figures / name).is_file() for name in pictures):
        return facts
    facts = {"stamp": stamp, "pictures": {}, "problems": {}}
    if result.file(IMAGES[0]) is None and not (result.file(IMAGES[1]) and result.source):
        return facts
    artist = Artist(result)
    for section, part in artist.parts().items():
        try:
            found = part()
        except Exception as error:  # one damaged derivative must not cost the page that says so
            facts["problems"][section] = f"{type(error).__name__}: {error}"
            continue
        facts["pictures"][section] = found.pop("pictures", {})
        facts |= found
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return facts


def _stamp(result: Result) -> list[Any]:
    """What the pictures depend on."""
    endings = [*IMAGES, hippocampus.IMAGE, lesion.MASK, *registration.files(result)]
    found = [path.stat() if (path := result.file(ending)) else None for ending in endings]
    found += [path.stat() for _, path in coregistration.found(result)]
    found.append(None if found[0] else (path.stat() if (path := result.source) else None))
    return [__version__, *endings, *([s.st_size, s.st_mtime_ns] if s else None for s in found)]


class Artist:
    """Draws the sections of one unit's page; images are read when first needed.

    Parameters
    ----------
    result : Result
        The unit; it has a preprocessed image.
    """

    def __init__(self, result: Result) -> None:
        self.result = result
        self.table = result.table
        self.position = np.zeros(max(self.table.by_index) + 1, np.uint8)
        for place, label in enumerate(self.table):
            self.position[label.index] = place
        self.colors = {place: mosaic.color_of(label.color) for place, label in enumerate(self.table)}

    def parts(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """The function that draws each section, for those whose derivatives are there."""
        has = {ending: self.result.file(ending) is not None for ending in IMAGES}
        corrected = has["desc-preproc_*.nii.gz"]
        parts: dict[str, Callable[[], dict[str, Any]]] = {"image": self.grid}
        if has["desc-brain_mask.nii.gz"]:
            parts |= {"mask": self.brain_mask} | ({"bias": self.bias} if corrected else {})
        if has["desc-aseg_dseg.nii.gz"]:
            parts |= {"segmentation": self.segmentation, "viewer": self.viewer}
        if has["dseg.nii.gz"]:
            parts["tissues"] = self.tissues
        if (there := registration.files(self.result)) and self.result.file(there[0]):
            parts["alignment"] = lambda: registration.draw(self)
        if self.result.file(hippocampus.IMAGE):
            parts["hippocampus"] = lambda: hippocampus.draw(self)
        if self.result.file(lesion.MASK):
            parts["lesion"] = lambda: lesion.draw(self)
        if coregistration.found(self.result):
            parts["contrasts"] = lambda: coregistration.draw(self)
        return parts

    # -- what is read ---------------------------------------------------------------------------------------

    def _read(self, ending: str, dtype: type | None = None) -> Scan:
        path = self.result.file(ending)
        if path is None:
            raise FileNotFoundError(ending)
        return mosaic.read(path, dtype)

    @cached_property
    def image(self) -> Scan:
        """The bias-corrected image; where the run stopped before there was one, the source."""
        return mosaic.read(self._image_path, np.float32)

    @property
    def _image_path(self) -> Path:
        path = self.result.file("desc-preproc_*.nii.gz") or self.result.source
        if path is None:
            raise FileNotFoundError("desc-preproc")
        return path

    @cached_property
    def mask(self) -> np.ndarray:
        """The brain mask."""
        if self.result.file("desc-brain_mask.nii.gz") is None:
            return np.zeros(self.image.data.shape, np.uint8)
        return self._like(self._read("desc-brain_mask.nii.gz", np.uint8))

    @cached_property
    def structures(self) -> np.ndarray:
        """Structures as positions in the label table; what the table does not know is background."""
        data = self._like(self._read("desc-aseg_dseg.nii.gz", np.int16))
        known = (data >= 0) & (data < len(self.position))
        return self.position[np.where(known, data, 0)]

    @cached_property
    def dseg(self) -> np.ndarray:
        """1 grey matter, 2 white matter, 3 CSF."""
        return self._like(self._read("dseg.nii.gz", np.uint8))

    def _like(self, scan: Scan) -> np.ndarray:
        if scan.data.shape != self.image.data.shape or not np.allclose(
            scan.affine, self.image.affine, atol=1e-2
        ):
            raise ValueError("it does not lie on the grid of the preprocessed image")
        return scan.data

    @cached_property
    def brain_box(self) -> mosaic.Box:
        """The brain's box; the head's without a brain."""
        mask = self.mask > 0 if self.mask.any() else mosaic.foreground(self.image.data)
        return mosaic.box_around(mask, self.image.spacing, 0, share=0.04)

    @cached_property
    def brain_view(self) -> mosaic.Box:
        """The brain's box with a margin of 6 mm."""
        return mosaic.widen(self.brain_box, self.image, 6)

    @cached_property
    def levels(self) -> tuple[float, float]:
        """Black and white point."""
        return mosaic.window(self.image.data, self.mask)

    @cached_property
    def brain(self) -> Mosaic:
        """Frame of the pictures of the brain."""
        return Mosaic(self.image.affine, self.brain_view, self.brain_box, mosaic.ROWS)

    @cached_property
    def brain_base(self) -> str:
        """Name of the picture of the brain that layers are laid over."""
        return self._save(
            self.brain.gray(self.image.data, self.levels), f"desc-brain_{self.result.suffix}.webp"
        )

    def _save(self, picture: Image.Image, ending: str) -> str:
        return mosaic.save(picture, self.result.figures / f"{self.result.key}_{ending}").name

    # -- the sections ---------------------------------------------------------------------------------------

    def grid(self) -> dict[str, Any]:
        """Shape, voxel size and orientation of the image as it is stored, and a thumbnail."""
        header = nib.load(self._image_path)
        rotation = header.affine[:3, :3] / nib.affines.voxel_sizes(header.affine)
        tilt = np.degrees(np.arccos(np.clip(np.abs(rotation).max(axis=0).min(), -1, 1)))
        thumb = Mosaic(
            self.image.affine, self.brain_view, self.brain_box, [[(p, 1) for p in mosaic.PLANES]], 900
        )
        layers = []
        if self.result.file("desc-aseg_dseg.nii.gz"):
            layers = [mosaic.layer(thumb.labels(self.structures), self.colors, 110)]
        base = thumb.gray(self.image.data, self.levels)
        return {
            "shape": [int(n) for n in header.shape[:3]],
            "voxel": [round(float(x), 4) for x in nib.affines.voxel_sizes(header.affine)],
            "orientation": "".join(nib.aff2axcodes(header.affine)),
            "tilt": round(float(tilt), 1),
            "mask_volume": float(np.count_nonzero(self.mask) * self.image.voxel_volume),
            "pictures": {"thumbnail": self._save(mosaic.over(base, layers), "desc-thumbnail_dseg.webp")},
        }

    def brain_mask(self) -> dict[str, Any]:
        """The whole field of view with the contour of the brain mask."""
        head = mosaic.foreground(self.image.data) | (self.mask > 0)
        view = mosaic.box_around(head, self.image.spacing, 4, share=0.02)
        view = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(view, self.brain_view, strict=True))
        frame = Mosaic(self.image.affine, view, self.brain_box, mosaic.ROWS)
        levels = mosaic.window(self.image.data, self.mask, headroom=1.25)
        line = mosaic.edges(frame.labels((self.mask > 0).astype(np.uint8)), 2)
        return {
            "pictures": {
                "base": self._save(
                    frame.gray(self.image.data, levels), f"desc-head_{self.result.suffix}.webp"
                ),
                "contour": self._save(mosaic.layer(line, {1: MASK_COLOR}, 255), "desc-brain_mask.png"),
            }
        }

    def segmentation(self) -> dict[str, Any]:
        """Structures in FreeSurfer's colours."""
        return {"pictures": self._layers(self.structures, self.colors, "aseg")}

    def tissues(self) -> dict[str, Any]:
        """Grey matter, white matter and CSF, and how bright they are."""
        values, edges = {}, np.linspace(*self.levels, 81)
        for label, name in DSEG_NAMES.items():
            inside = self.image.data[self.dseg == label]
            if inside.size:
                count = np.histogram(inside, edges)[0]
                values[name] = [round(float(x), 5) for x in count / count.sum()] if count.sum() else []
        return {"pictures": self._layers(self.dseg, TISSUE_COLORS, "tissue"), "histograms": values}

    def _layers(self, data: np.ndarray, colors: dict[int, tuple[int, int, int]], name: str) -> dict[str, str]:
        drawn = self.brain.labels(data)
        return {
            "base": self.brain_base,
            "fill": self._save(mosaic.layer(drawn, colors, 105), f"desc-{name}fill_dseg.png"),
            "lines": self._save(
                mosaic.layer(mosaic.edges(drawn, 1), colors, 255), f"desc-{name}lines_dseg.png"
            ),
        }

    def bias(self) -> dict[str, Any]:
        """The image before and after correction, and the field; only after, if the source is away."""
        rows = [[("axial", 3), ("coronal", 3), ("sagittal", 2)]]
        frame = Mosaic(self.image.affine, self.brain_view, self.brain_box, rows)
        name = f"desc-{{}}_{self.result.suffix}.webp"
        pictures = {"after": self._save(frame.gray(self.image.data, self.levels), name.format("corrected"))}
        source = self._source()
        if source is None:
            return {"pictures": pictures}
        levels = mosaic.window(source.data, self.mask)
        pictures["before"] = self._save(frame.gray(source.data, levels), name.format("acquired"))
        field = _field(source.data, self.image.data, self.mask, self.image.spacing)
        low, high = (float(x) for x in np.percentile(field[self.mask > 0], (1, 99)))
        reach = max(high - 1, 1 - low, 0.02)
        picture = frame.color(field, (1 - reach, 1 + reach), self.mask, "cividis")
        pictures["field"] = self._save(picture, "desc-biasfield.webp")
        return {
            "pictures": pictures,
            "bias_range": [round(low, 3), round(high, 3)],
            "bias_scale": round(reach, 3),
        }

    def _source(self) -> Scan | None:
        """The image as acquired, where it can still be read and is the one that was corrected."""
        path = self.result.source
        if path is None:
            return None
        try:
            source = mosaic.read(path, np.float32)
            self._like(source)
        except (OSError, ValueError, EOFError, zlib.error, nib.filebasedimages.ImageFileError):
            return None
        return source

    def viewer(self) -> dict[str, Any]:
        """The brain at 1 mm with its labels, as a script that the page loads when it comes to that."""
        box = mosaic.widen(self.brain_box, self.image, 8)
        scan = self.image.crop(box)

        def crop(data: np.ndarray) -> Scan:
            return Scan(data, self.image.affine).crop(box)

        tissue = self.dseg if self.result.file("dseg.nii.gz") else np.zeros_like(self.mask)
        script = viewer.pack(
            scan,
            self.levels,
            structures=crop(self.structures),
            tissues=crop(tissue | ((self.mask > 0).astype(np.uint8) << 3)),
            names=[label.index for label in self.table],
        )
        path = self.result.figures / f"{self.result.key}_desc-viewer_dseg.js"
        write_text(path, script)
        return {"pictures": {"script": path.name}}


def _field(before: np.ndarray, after: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Smooth ratio of two images within a mask, its median 1."""
    from scipy.ndimage import gaussian_filter, zoom

    steps = tuple(slice(None, None, max(1, round(3 / size))) for size in spacing)
    inside = (mask[steps] > 0) & (after[steps] > 1e-6) & (before[steps] > 0)
    ratio = np.where(inside, before[steps] / np.where(inside, after[steps], 1), 0).astype(np.float32)
    ratio /= np.median(ratio[inside]) if inside.any() else 1.0
    ratio = np.clip(ratio, 0.1, 10) * inside
    weight = gaussian_filter(inside.astype(np.float32), 2)
    smooth = np.where(weight > 1e-3, gaussian_filter(ratio, 2) / np.maximum(weight, 1e-3), 1).astype(
        np.float32
    )
    return zoom(
        smooth,
        [n / m for n, m in zip(mask.shape, smooth.shape, strict=True)],
        order=1,
        grid_mode=True,
        mode="nearest",
    )
