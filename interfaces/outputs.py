"""The one sink: every derivative of a unit gets its name, type, geometry and sidecar here."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    Str,
    TraitedSpec,
    isdefined,
    traits,
)

from ..models.geometry.volume import Volume
from ..models.population import labels
from ..models.registration import registration
from . import hippocampus, lesion, quality
from .base import Stage, StageInputSpec, load
from .growth import read_age
from .io import derivatives, files
from .io.derivatives import Names
from .io.spaces import InSpace, Native
from .registration import read_alignment
from .segmentation import read_measures, read_uncertainty


class _WriteDerivativesInputSpec(StageInputSpec):
    bids_root = Str(mandatory=True, desc="the dataset")
    out_dir = Str(mandatory=True, desc="the derivatives' root")
    key = Str(mandatory=True, desc="the unit, such as sub-01_ses-02")
    label_table = Str("adult", usedefault=True, desc="label table of the structures")
    in_preproc = File(exists=True, mandatory=True, desc="the bias-corrected scan")
    in_mask = File(exists=True, mandatory=True, desc="the brain")
    in_structures = File(exists=True, mandatory=True, desc="FreeSurfer ids")
    in_tissue = File(exists=True, mandatory=True, desc="the six tissues")
    in_probabilities = InputMultiObject(File(exists=True), mandatory=True, desc="GM, WM, CSF")
    in_measures = File(exists=True, mandatory=True, desc="volumes and centroids")
    in_alignments = InputMultiObject(File(exists=True), desc="alignments with the output spaces")
    in_quality = File(exists=True, desc="what quality control found")
    in_hippocampus = File(exists=True, desc="parts of the hippocampus")
    in_hippocampus_volumes = File(exists=True, desc="JSON: their volumes (mm3)")
    in_lesions = InputMultiObject(File(exists=True), desc="lesions, their probability, JSON of each")
    in_dseg = File(exists=True, desc="tissues, if they are not those of the structures")
    in_runs = File(exists=True, desc="JSON: matrices from the averaged scans to the reference")
    grid_file = File(exists=True, desc="image on whose grid the results are, if it is not the scan")
    averaged = traits.List(Str, desc="scans whose average the reference is")
    given = traits.Dict(Str, Str, desc="BIDS URIs of results that others computed, by what they are")
    flavor = Str("fmriprep", usedefault=True, desc="for whom the results are named")
    leave_out = traits.List(
        Str, ["jacobian"], usedefault=True, desc="steps off: posteriors, template-outputs, jacobian"
    )
    sloppy = traits.Bool(False, usedefault=True, desc="whether the results are for trying only")
    stripped = traits.Bool(False, usedefault=True, desc="whether the scan came without a skull")
    notes = traits.List(Str, desc="what a reader of the results should know")


class _WriteDerivativesOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="everything that was written")
    notes = traits.List(Str, desc="the notes, each once")
    stripped = traits.Bool(desc="whether the scan came without a skull")


class WriteDerivatives(Stage):
    """Write the derivatives of one unit."""

    input_spec = _WriteDerivativesInputSpec
    output_spec = _WriteDerivativesOutputSpec
    _always_run = True  # what it writes lies outside the work folder, where Nipype does not look

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        names = Names(
            Path(given.out_dir),
            Path(given.bids_root),
            Path(given.source_file),
            given.key,
            averaged=tuple(map(Path, given.averaged or ())),
            flavor=given.flavor,
        )
        notes = list(dict.fromkeys(given.notes or []))
        transforms = given.in_alignments if isdefined(given.in_alignments) else []
        aligned = [InSpace(names, read_alignment(path)) for path in transforms]
        files.sweep(names.folder, names.prefix)
        with ThreadPoolExecutor(int(given.num_threads)) as pool:
            jobs = [pool.submit(job) for job in self._jobs(names, aligned)]
            written = [job.result() for job in jobs]
        # Last, so that what a sidecar describes is there.
        leave_out = tuple(given.leave_out or ())
        native = derivatives.sidecars(names, bool(given.stripped), notes, dict(given.given or {}))
        age = read_age(given.in_measures)
        if age is not None:
            native["desc-aseg_volumes.tsv"]["Age"] = {
                "Value": age["age"],
                "Units": age["unit"],
                "Estimated": "error" in age,
                "Error": age.get("error"),
            }
        if labels.numbering(given.label_table, "feta") is not None:
            described = {"Description": "Tissues in the numbering of FeTA, sides together"}
            native[derivatives.FETA] = native["desc-aseg_dseg.nii.gz"] | described
        if isdefined(given.in_hippocampus):
            native |= hippocampus.sidecars(names, native["desc-aseg_dseg.nii.gz"], notes)
        if isdefined(given.in_lesions):
            native |= lesion.sidecars(names, given.in_lesions[2], native["desc-aseg_dseg.nii.gz"])
        about = [(end, native[ending]) for ending in native for end in names.stored(ending, leave_out)]
        about += [pair for one in aligned for pair in one.sidecars(native, leave_out).items()]
        for end, content in about:
            marked = content | ({"Sloppy": True} if given.sloppy else {})
            written.append(files.write_json(_beside(names.path(end)), marked))
        if isdefined(given.in_quality):
            written += [job() for job in quality.jobs(names, given.in_quality)]
        self._results["out_files"] = sorted(str(path) for path in written)
        self._results["notes"] = notes
        self._results["stripped"] = bool(given.stripped)

    def _jobs(self, names: Names, aligned: list[InSpace]) -> list[Callable[[], Path]]:
        """What is to be written besides sidecars."""
        scan = _Scan.read(self.inputs)
        volumes, _ = read_measures(self.inputs.in_measures)
        leave_out = tuple(self.inputs.leave_out or ())
        images = scan.native(names)
        jobs: list[Callable[[], Path]] = [
            partial(files.write_image, names.path(end), *image)
            for ending, image in images.items()
            for end in names.stored(ending, leave_out)
        ]
        rows = derivatives.volume_rows(
            volumes,
            scan.structures.data.numpy(),
            scan.mask.data.numpy(),
            scan.mask.grid.voxel_volume,
            scan.label_table,
            read_uncertainty(self.inputs.in_measures),
        )
        columns = tuple(derivatives.VOLUME_COLUMNS)
        jobs.append(partial(files.write_table, names.path("desc-aseg_volumes.tsv"), columns, rows))
        if isdefined(self.inputs.in_hippocampus):
            rows = hippocampus.rows(self.inputs.in_hippocampus_volumes)
            path = names.path(derivatives.HIPPOCAMPUS_VOLUMES)
            jobs.append(partial(files.write_table, path, tuple(hippocampus.COLUMNS), rows))
        if isdefined(self.inputs.in_lesions):
            affine, code = np.asarray(scan.grid.affine), files.geometry_code(scan.grid)
            mask, probability, table = self.inputs.in_lesions
            made = lesion.jobs(names, mask, probability, table, affine, code)
            jobs += made if "posteriors" not in leave_out else [made[0], made[2]]
        for one in aligned:
            jobs += one.transforms()
            if "template-outputs" not in leave_out:
                jobs += one.images(scan.found(), leave_out)
        return jobs + self._runs(names)

    def _runs(self, names: Names) -> list[Callable[[], Path]]:
        """Where every averaged scan lies in the average."""
        if not isdefined(self.inputs.in_runs):
            return []
        matrices = json.loads(Path(self.inputs.in_runs).read_text())
        return [
            partial(
                files.write_binary,
                names.of_run(source),
                partial(registration.write_transform, matrix=np.array(matrix)),
            )
            for source, matrix in zip(names.averaged, matrices, strict=True)
        ]


@dataclass(frozen=True)
class _Scan:
    """A unit's images, as the stages left them."""

    source: nib.spatialimages.SpatialImage
    grid: nib.spatialimages.SpatialImage
    preproc: Volume
    mask: Volume
    structures: Volume
    tissue: Volume
    probabilities: dict[str, Volume]
    label_table: str
    dseg: Volume | None = None
    hippocampus: Volume | None = None

    @classmethod
    def read(cls, given: Any) -> _Scan:
        source = nib.load(given.source_file)
        return cls(
            source,
            nib.load(given.grid_file) if isdefined(given.grid_file) else source,
            load(given.in_preproc),
            load(given.in_mask),
            load(given.in_structures),
            load(given.in_tissue),
            {name: load(path) for name, path in zip(labels.DSEG_NAMES, given.in_probabilities, strict=True)},
            given.label_table,
            load(given.in_dseg) if isdefined(given.in_dseg) else None,
            load(given.in_hippocampus) if isdefined(given.in_hippocampus) else None,
        )

    def native(self, names: Names) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
        """Images on the scan's grid by their ending: data, affine and its code."""
        structures = self.structures.data.numpy()
        dseg = labels.load(self.label_table).lookup("dseg")[structures]
        if self.dseg is not None:
            dseg = self.dseg.data.numpy()
        data = {
            names.preproc: derivatives.as_stored(self.preproc.data.numpy(), self.source.get_data_dtype()),
            "desc-brain_mask.nii.gz": (self.mask.data.numpy() > 0).astype(np.uint8),
            "dseg.nii.gz": dseg.astype(np.int16),
            "desc-aseg_dseg.nii.gz": structures.astype(np.int16),
            "desc-tissue_dseg.nii.gz": self.tissue.data.numpy().astype(np.uint8),
        }
        numbers = labels.numbering(self.label_table, "feta")
        if numbers is not None:
            data[derivatives.FETA] = numbers[structures]
        if self.hippocampus is not None:
            data[derivatives.HIPPOCAMPUS] = self.hippocampus.data.numpy().astype(np.uint8)
        for name, volume in self.probabilities.items():
            data[f"label-{name}_probseg.nii.gz"] = derivatives.as_probability(volume.data.numpy())
        # The source's own affine: that of the work folder went through another header.
        affine, code = np.asarray(self.grid.affine), files.geometry_code(self.grid)
        return {ending: (values, affine, code) for ending, values in data.items()}

    def found(self) -> Native:
        """What is brought into the output spaces."""
        return Native(
            self.preproc, self.mask, self.structures, self.probabilities, self.source.get_data_dtype()
        )


def _beside(path: Path) -> Path:
    """The sidecar of a file."""
    return path.with_name(path.name.split(".")[0] + ".json")
