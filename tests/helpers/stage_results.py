"""What the stages leave for the outputs, made of blobs: a dataset, work files, a small template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch

from brainseg.interfaces import base
from brainseg.interfaces.io import dataset
from brainseg.interfaces.outputs import WriteDerivatives, WriteQuality
from brainseg.models.geometry.volume import Volume
from brainseg.models.io import outputs
from brainseg.models.population import labels
from brainseg.models.population.populations import Population
from brainseg.models.registration import linear, reference, registration
from brainseg.models.registration.result import Anatomy
from brainseg.models.segmentation.result import EXTENT, SegmentationResult, SkullStripResult
from brainseg.models.templates import bundled

SHAPE = (40, 44, 38)
MATRIX = np.array([[1.04, 0.02, 0, 3.0], [-0.02, 0.98, 0.03, -5.0], [0, 0.01, 1.1, 4.0], [0, 0, 0, 1.0]])
"""From the scan's mm to the template's."""


def affine() -> np.ndarray:
    """LAS, 4 mm."""
    out = np.diag([-4.0, 4.0, 4.0, 1.0])
    out[:3, 3] = 78.0, -86.0, -74.0
    return out


def small_template(name: str = bundled.DEFAULT) -> bundled.Template:
    """A template of 5 mm voxels, its structures where those of the blobs are once aligned."""
    matrix = np.diag([5.0, 5.0, 5.0, 1.0])
    matrix[:3, 3] = -98.0, -134.0, -72.0
    mask = torch.ones(39, 46, 37, dtype=torch.uint8)
    there = {
        index: tuple(MATRIX[:3, :3] @ np.array(point) + MATRIX[:3, 3]) for index, point in centroids().items()
    }
    return bundled.Template(name, Volume(mask.float(), matrix), Volume(mask, matrix), there)


def anatomy_of_template(text: str = bundled.DEFAULT, *_) -> Anatomy:
    """The small template with its structures' places, no labels."""
    found = bundled.load(text)
    empty = found.image.with_data(torch.zeros(found.image.grid.shape, dtype=torch.int16))
    return Anatomy(found.image, found.mask, empty, found.centroids, {})


def centroids() -> dict[int, tuple[float, float, float]]:
    """A place for every structure."""
    rng = np.random.default_rng(3)
    return {
        label.index: tuple(map(float, rng.uniform(-50, 50, 3)))
        for label in labels.load("adult")
        if label.index
    }


def scan(shape=SHAPE, dtype="int16", seed: int = 0) -> np.ndarray:
    """A bright ball with a dark core, in noise."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    r = np.sqrt(sum(axis**2 for axis in axes))
    values = 1100 * (r < 0.85) - 500 * (r < 0.3)
    return (values + np.random.default_rng(seed).integers(0, 60, shape)).astype(dtype)


def mask_of(data: np.ndarray) -> np.ndarray:
    """Where the ball is."""
    return (data > 400).astype(np.uint8)


def segmentation_of(volume: Volume, mask: Volume) -> SegmentationResult:
    """Structures in stripes, in the brain."""
    inside = mask.data.numpy() > 0
    table = labels.load("adult")
    ids = np.array([label.index for label in table if label.index], np.int16)
    stripes = np.arange(inside.size).reshape(inside.shape) // 3 % len(ids)
    structures = np.where(inside, ids[stripes], 0).astype(np.int16)
    tissue = table.lookup("tissue")[structures]
    dseg = table.lookup("dseg")[structures]
    probabilities = {
        name: volume.with_data(
            torch.from_numpy((0.8 * (dseg == k) + 0.1 * (dseg > 0) * (dseg != k)).astype("f4"))
        )
        for k, name in enumerate(("GM", "WM", "CSF"), 1)
    }
    voxel = volume.grid.voxel_volume
    volumes = {int(i): float((structures == i).sum()) * voxel * 0.99 for i in ids}
    return SegmentationResult(
        volume.with_data(torch.from_numpy(structures)),
        volume.with_data(torch.from_numpy(tissue)),
        probabilities,
        volumes,
        centroids(),
        ["A note from the segmentation."],
    )


def install(patch) -> None:
    """Put quick stand-ins for the science in place; ``patch`` is ``monkeypatch.setattr``."""
    from brainseg.models.intracranial import intracranial
    from brainseg.models.preprocessing import bias
    from brainseg.models.segmentation import segmentation, skullstrip

    def strip(
        volume: Volume, population: str = "adult", *, mode: str = "auto", device: str = "cpu"
    ) -> SkullStripResult:
        mask = torch.from_numpy(mask_of(volume.data.numpy()))
        source = EXTENT if mode == "skip" else "deepbet"
        return SkullStripResult(volume.with_data(mask), mode == "skip", source=source)

    def cavity(volume: Volume, record: Population, *, stripped: bool = False, device: str = "cpu", **_):
        if stripped:
            return intracranial.unavailable(intracranial.STRIPPED)
        inside = volume.with_data(torch.from_numpy(mask_of(volume.data.numpy())))
        size = float(inside.data.sum()) * volume.grid.voxel_volume
        distance = inside.with_data(inside.data.float() * 20 - 10)
        return intracranial.Intracranial(inside, size, distance)

    patch(skullstrip, "skullstrip", strip)
    patch(intracranial, "measure", cavity)
    patch(bias, "correct", lambda volume, mask, *, shrink=4: (volume, volume))
    patch(segmentation, "segment", lambda volume, mask, *_, **__: segmentation_of(volume, mask))
    patch(bundled, "load", small_template)
    patch(
        registration, "register", lambda moving, fixed, **_: linear.align(moving.centroids, fixed.centroids)
    )
    patch(reference, "load", anatomy_of_template)


class ParticipantSession(NamedTuple):
    """A scan in a dataset, what the stages made of it, and where results go."""

    bids: Path
    out: Path
    source: Path
    key: str
    inputs: dict
    quality: str

    def write(self, cwd: str | Path | None = None, **changes):
        """Write the derivatives, with changed inputs; return outputs with all files."""
        inputs = self.inputs | changes
        found = WriteDerivatives(**inputs).run(cwd=cwd).outputs
        names = ("source_file", "bids_root", "out_dir", "key", "flavor", "reoriented", "averaged", "sloppy")
        common = {name: inputs[name] for name in names if name in inputs}
        more = WriteQuality(**common, in_quality=self.quality, after=found.out_files).run(cwd=cwd).outputs
        found.out_files = [*found.out_files, *more.out_files]
        return found


def participant_session(root: Path, name: str = "sub-01_T1w", dtype: str = "int16") -> ParticipantSession:
    """Write a dataset with the scan ``name`` and the files that the stages leave."""
    bids, out, work = root / "bids", root / "out", root / "work"
    entities = dict(part.split("-") for part in name.split("_")[:-1])
    parts = [f"{entity}-{entities[entity]}" for entity in ("sub", "ses") if entity in entities]
    source = bids.joinpath(*parts, "anat", f"{name}.nii.gz")
    source.parent.mkdir(parents=True)
    work.mkdir()
    data = scan(dtype=dtype)
    image = nib.Nifti1Image(data, affine())
    image.set_sform(image.affine, 2)
    image.set_qform(image.affine, 0)
    nib.save(image, source)
    (bids / "dataset_description.json").write_text(
        json.dumps({"Name": "blobs", "BIDSVersion": "1.10.0", "License": "CC0", "DatasetDOI": "doi:10.1/x"})
    )
    volume = Volume(torch.from_numpy(data.astype(np.float32)), affine())
    mask = volume.with_data(torch.from_numpy(mask_of(data)))
    found = segmentation_of(volume, mask)
    measures, transform = work / "measures.json", work / "transform.json"
    measures.write_text(
        json.dumps(
            {"volumes": found.volumes, "centroids": found.centroids}
            | {"uncertainty": {17: 0.0625}, "intervals": {17: (1000.0, 1500.125)}}
        )
    )
    transform.write_text(json.dumps({"matrix": MATRIX.tolist(), "error_mm": 1.25}))
    quality = work / "quality.json"
    quality.write_text(
        json.dumps(
            {
                "verdict": "pass",
                "score": 0.9,
                "checks": [],
                "metrics": {"cjv": 0.4123456, "fber": None},
                "structures": [
                    {"index": 17, "score": 0.87654, "volume": 3800.0, "pieces": 1, "holes": 0, "euler": 1}
                    | {"signs": {"size": 0.5}}
                ],
                "table": "adult",
            }
        )
    )
    inputs = {
        "source_file": str(source),
        "bids_root": str(bids),
        "out_dir": str(out),
        "key": "_".join(parts),
        "in_preproc": base.save(volume, work / "preproc.nii"),
        "in_mask": base.save(mask, work / "mask.nii"),
        "in_structures": base.save(found.structures, work / "structures.nii"),
        "in_tissue": base.save(found.tissue, work / "tissue.nii"),
        "in_probabilities": [base.save(p, work / f"{k}.nii") for k, p in found.probabilities.items()],
        "in_measures": str(measures),
        "in_alignments": [str(transform)],
        "notes": ["One thing.", "Another thing.", "One thing."],
    }
    dataset.write_dataset_description(out, bids, "1.2.3", label_files=outputs.label_files([]))
    return ParticipantSession(bids, out, source, inputs["key"], inputs, str(quality))


def tree(folder: Path, leave_out: tuple[str, ...] = ("logs", "figures")) -> list[str]:
    """Files below a folder, sorted."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if not set(path.parts) & set(leave_out))
