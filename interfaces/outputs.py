"""The sink: every derivative of a participant-session gets its name, type, geometry and sidecar here."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
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

from ..models.data import model_files
from ..models.geometry.volume import Volume
from ..models.io import itk, outputs
from ..models.io.images import kind_of, open_image
from ..models.population import labels, populations
from . import hippocampus, intracranial, lesion, own_labels, parcellation, quality
from .base import Sink, StageInputSpec, load
from .growth import read_age
from .io import derivatives, files, rounding
from .io.derivatives import Names
from .io.spaces import InSpace, Native
from .registration import read_alignment
from .segmentation import read_intervals, read_measures, read_uncertainty

WAITING = 2
"""Files whose content waits in memory for a thread that writes it."""


def written(pool: ThreadPoolExecutor, jobs: Iterator[Callable[[], Path]], at_once: int) -> Iterator[Path]:
    """Return the files of jobs that run in threads, in any order.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        The threads.
    jobs : iterator of callable
        Functions that write a file and return its path; each holds the file's content.
    at_once : int
        Number of jobs that may wait for a thread. The caller does the next one itself then, so that no more
        content is in memory.
    """
    pending: deque[Future[Path]] = deque()
    for job in jobs:
        while pending and pending[0].done():
            yield pending.popleft().result()
        if len(pending) < at_once:
            pending.append(pool.submit(job))
        else:
            yield job()
        del job
    yield from (future.result() for future in pending)


class _NamedInputSpec(StageInputSpec):
    """What the names of the files follow from, and what all their sidecars say."""

    bids_root = Str(mandatory=True, desc="root of the dataset")
    out_dir = Str(mandatory=True, desc="root of the derivatives")
    key = Str(mandatory=True, desc="participant and session, such as sub-01_ses-02")
    averaged = traits.List(Str, desc="images that were averaged to the reference")
    flavor = Str("fmriprep", usedefault=True, desc="programs that the results are named for")
    reoriented = Str("", usedefault=True, desc="corrected orientation, such as RAS>LIA; empty if unchanged")
    sloppy = traits.Bool(False, usedefault=True, desc="whether the results are coarse, for tests only")
    notes = traits.List(Str, desc="notes of the stages")


def _names(inputs: Any) -> Names:
    """Return the names of the files of a node."""
    return Names(
        Path(inputs.out_dir),
        Path(inputs.bids_root),
        Path(inputs.source_file),
        inputs.key,
        averaged=tuple(map(Path, inputs.averaged or ())),
        flavor=inputs.flavor,
        reoriented=bool(inputs.reoriented),
    )


def _marks(inputs: Any) -> dict[str, Any]:
    """Return what all sidecars say: coarse results, and a corrected orientation."""
    before, _, after = inputs.reoriented.partition(">")
    turned = {"Reoriented": {"HeaderOrientation": before, "Orientation": after}} if after else {}
    return ({"Sloppy": True} if inputs.sloppy else {}) | turned


class _WriteDerivativesInputSpec(_NamedInputSpec):
    label_table = Str("adult", usedefault=True, desc="label table of the structures")
    in_preproc = File(exists=True, mandatory=True, desc="bias-corrected image")
    in_mask = File(exists=True, mandatory=True, desc="brain mask")
    in_structures = File(exists=True, mandatory=True, desc="structures by FreeSurfer id")
    in_tissue = File(exists=True, mandatory=True, desc="six tissues")
    in_probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc="probabilities of GM, WM and CSF"
    )
    in_measures = File(exists=True, mandatory=True, desc="JSON: volumes (mm3) and centroids (mm)")
    in_alignments = InputMultiObject(File(exists=True), desc="JSON: registrations to the output spaces")
    in_intracranial = File(exists=True, desc="JSON: intracranial volume, or the reason why there is none")
    in_intracranial_mask = File(exists=True, desc="mask of the cranial cavity, if there is one")
    in_hippocampus = File(exists=True, desc="parts of the hippocampus")
    in_hippocampus_volumes = File(exists=True, desc="JSON: volumes of the parts (mm3)")
    in_lesions = InputMultiObject(
        File(exists=True), desc="lesion mask, lesion probability, JSON with every lesion"
    )
    in_labels = File(exists=True, desc="labels of a network of the user")
    in_label_volumes = File(exists=True, desc="JSON: their volumes (mm3)")
    in_parcels = InputMultiObject(File(exists=True), desc="parcels of every atlas")
    in_parcel_tables = InputMultiObject(File(exists=True), desc="JSON: tables of the parcels")
    maps = traits.Dict(Str, Str, usedefault=True, desc="images that were measured in the parcels, by name")
    networks = traits.Dict(Str, Str, usedefault=True, desc="networks of the user by step")
    in_dseg = File(exists=True, desc="tissue segmentation, if it is not derived from the structures")
    in_runs = File(exists=True, desc="JSON: matrices from the averaged images to the reference (mm)")
    grid_file = File(exists=True, desc="image with the grid of the results, if not the source image")
    precomputed = traits.Dict(Str, Str, desc="BIDS URIs of precomputed inputs by role")
    leave_out = traits.List(
        Str,
        ["jacobian", "vbm"],
        usedefault=True,
        desc="steps off: posteriors, template-outputs, jacobian, vbm",
    )
    smooth = traits.Float(0.0, usedefault=True, desc="width (mm) of the Gaussian for the modulated maps")
    stripped = traits.Bool(False, usedefault=True, desc="whether the image was skull-stripped")
    mask_source = Str("", usedefault=True, desc="network that made the mask, extent or precomputed")


class _WriteDerivativesOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="all written files")
    notes = traits.List(Str, desc="notes without repetitions")
    stripped = traits.Bool(desc="whether the image was skull-stripped")


class WriteDerivatives(Sink):
    """Write the derivatives of a participant-session."""

    input_spec = _WriteDerivativesInputSpec
    output_spec = _WriteDerivativesOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        names = _names(inputs)
        notes = list(dict.fromkeys(inputs.notes or []))
        transforms = inputs.in_alignments if isdefined(inputs.in_alignments) else []
        aligned = [InSpace(names, read_alignment(path)) for path in transforms]
        files.sweep(names.folder, names.prefix)
        with ThreadPoolExecutor(int(inputs.num_threads)) as pool:
            paths = list(written(pool, self._jobs(names, aligned), int(inputs.num_threads) + WAITING))
        # Sidecars are written last: what they describe exists then.
        marks = _marks(inputs)
        for ending, content in self._sidecars(names, aligned, notes):
            paths.append(files.write_json(names.path(outputs.sidecar(ending)), content | marks))
        for path, content in self._run_sidecars(names):
            paths.append(files.write_json(path, content | marks))
        self._results["out_files"] = sorted(str(path) for path in paths)
        self._results["notes"] = notes
        self._results["stripped"] = bool(inputs.stripped)

    def _sidecars(
        self, names: Names, aligned: list[InSpace], notes: list[str]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return endings with the content of their sidecars."""
        inputs = self.inputs
        leave_out = tuple(inputs.leave_out or ())
        structures, volumes = outputs.ending("structures"), outputs.ending("volumes")
        native = derivatives.sidecars(names, bool(inputs.stripped), notes, dict(inputs.precomputed or {}))
        native[outputs.ending("mask")] |= derivatives.mask_source(inputs.mask_source)
        native[volumes] |= intracranial.COLUMNS | intracranial.about(self._intracranial)
        if isdefined(inputs.in_intracranial_mask):
            native |= intracranial.sidecars(names)
        age = read_age(inputs.in_measures)
        if age is not None:
            native[volumes]["Age"] = {
                "Value": age["age"],
                "Units": populations.BIDS_UNITS.get(str(age["unit"]), age["unit"]),
                "Estimated": "error" in age,
                "Error": age.get("error"),
            }
        if labels.numbering(inputs.label_table, "feta") is not None:
            native[outputs.ending("feta")] = native[structures] | derivatives.described("feta")
        if isdefined(inputs.in_hippocampus):
            native |= hippocampus.sidecars(names, native[structures], notes)
        if isdefined(inputs.in_lesions):
            native |= lesion.sidecars(names, inputs.in_lesions[2], native[structures])
        if isdefined(inputs.in_parcel_tables):
            native |= parcellation.sidecars(names, inputs.in_parcel_tables, native[structures], inputs.maps)
        if isdefined(inputs.in_labels):
            native |= own_labels.sidecars(names, self._own_network, native[structures])
        own_tissues = isdefined(inputs.in_dseg) and "dseg" not in dict(inputs.precomputed or {})
        own_labels.mark(native, inputs.networks, own_tissues=own_tissues)
        out = [(end, native[ending]) for ending in native for end in names.stored(ending, leave_out)]
        return out + [
            pair for one in aligned for pair in one.sidecars(native, leave_out, inputs.smooth).items()
        ]

    def _jobs(self, names: Names, aligned: list[InSpace]) -> Iterator[Callable[[], Path]]:
        """Return functions that write everything but the sidecars, each as soon as its content is there."""
        scan = _Scan.read(self.inputs)
        return chain(self._native_jobs(names, scan), self._aligned_jobs(scan, aligned))

    def _native_jobs(self, names: Names, scan: _Scan) -> Iterator[Callable[[], Path]]:
        """Return functions that write what is on the grid of the source image, and the tables."""
        leave_out = tuple(self.inputs.leave_out or ())
        for ending, image in scan.native(names):
            for end in names.stored(ending, leave_out):
                yield partial(files.write_image, names.path(end), *image)
        yield from self._tables(names, scan)
        affine, code = np.asarray(scan.grid.affine), files.geometry_code(scan.grid)
        if isdefined(self.inputs.in_parcels):
            found = self.inputs.in_parcels, self.inputs.in_parcel_tables
            yield from parcellation.jobs(names, *found, scan.structures, affine, code)
        if isdefined(self.inputs.in_intracranial_mask):
            yield from intracranial.jobs(names, self.inputs.in_intracranial_mask, affine, code)
        if isdefined(self.inputs.in_lesions):
            mask, probability, table = self.inputs.in_lesions
            yield from lesion.jobs(names, mask, probability, table, affine, code, leave_out)
        yield from self._runs(names)

    def _aligned_jobs(self, scan: _Scan, aligned: list[InSpace]) -> Iterator[Callable[[], Path]]:
        """Return functions that write the transforms, and the images in the spaces of the templates."""
        leave_out = tuple(self.inputs.leave_out or ())
        for one in aligned:
            yield from one.transforms()
            if "template-outputs" not in leave_out:
                yield from one.images(scan.to_resample(), leave_out, self.inputs.smooth)

    def _tables(self, names: Names, scan: _Scan) -> list[Callable[[], Path]]:
        """Return functions that write the tables of volumes."""
        rows = derivatives.volume_rows(
            read_measures(self.inputs.in_measures)[0],
            scan.structures.data.numpy(),
            scan.mask.data.numpy(),
            scan.mask.grid.voxel_volume,
            scan.label_table,
            read_uncertainty(self.inputs.in_measures),
            read_intervals(self.inputs.in_measures),
        )
        rows = intracranial.with_columns(rows, self._intracranial)
        tables = {"volumes": ((*derivatives.VOLUME_COLUMNS, *intracranial.COLUMNS), rows)}
        if isdefined(self.inputs.in_hippocampus):
            rows = hippocampus.rows(self.inputs.in_hippocampus_volumes)
            tables["hippocampus_volumes"] = tuple(hippocampus.COLUMNS), rows
        named = {outputs.ending(name): table for name, table in tables.items()}
        if scan.labels is not None:
            model, path = self._own_network, self.inputs.in_label_volumes
            rows = own_labels.rows(model, path, scan.labels.data.numpy(), scan.mask.grid.voxel_volume)
            desc = outputs.own_desc(model_files.title(model))
            named[outputs.ending("own_volumes", network=desc)] = tuple(own_labels.COLUMNS), rows
        return [partial(files.write_table, names.path(ending), *table) for ending, table in named.items()]

    @property
    def _intracranial(self) -> intracranial.Measured:
        found = self.inputs.in_intracranial
        return intracranial.read(found) if isdefined(found) else intracranial.UNMEASURED

    @property
    def _own_network(self) -> str:
        return own_labels.own_labels_of(self.inputs.networks)

    def _runs(self, names: Names) -> list[Callable[[], Path]]:
        """Return functions that write the transforms from the averaged images to the reference."""
        if not isdefined(self.inputs.in_runs):
            return []
        matrices = json.loads(Path(self.inputs.in_runs).read_text())
        return [
            partial(
                files.write_binary,
                names.of_run(source),
                partial(itk.write_matrix, matrix=np.array(matrix)),
            )
            for source, matrix in zip(names.averaged, matrices, strict=True)
        ]

    def _run_sidecars(self, names: Names) -> list[tuple[Path, dict[str, Any]]]:
        """Return paths and contents of the sidecars of these transforms."""
        if not isdefined(self.inputs.in_runs):
            return []
        about = derivatives.described("run_transform")
        found = [(names.of_run(source), uri) for source, uri in zip(names.averaged, names.raws, strict=True)]
        return [
            (
                path.with_name(outputs.sidecar(path.name)),
                {**about, "Sources": [uri], "SpatialReference": names.reference},
            )
            for path, uri in found
        ]


class _WriteQualityInputSpec(_NamedInputSpec):
    in_quality = File(exists=True, mandatory=True, desc="JSON: results of quality control")
    after = traits.Any(desc="files that are written first")


class _WriteQualityOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="files written")
    notes = traits.List(Str, desc="notes of the quality control")


class WriteQuality(Sink):
    """Write the results of the quality control, which is computed while the other derivatives are written."""

    input_spec = _WriteQualityInputSpec
    output_spec = _WriteQualityOutputSpec

    def _stage(self, folder: Path) -> None:
        notes = list(self.inputs.notes or [])
        jobs = quality.jobs(_names(self.inputs), self.inputs.in_quality, notes, _marks(self.inputs))
        self._results["out_files"] = sorted(str(job()) for job in jobs)
        self._results["notes"] = notes


@dataclass(frozen=True)
class _Scan:
    """Images of a participant-session, as the stages left them."""

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
    labels: Volume | None = None
    own_desc: str = ""

    @classmethod
    def read(cls, inputs: Any) -> _Scan:
        """Read the images from the inputs of the node."""
        source = open_image(inputs.source_file)
        return cls(
            source,
            open_image(inputs.grid_file)
            if isdefined(inputs.grid_file) and (inputs.averaged or inputs.reoriented)
            else source,
            load(inputs.in_preproc),
            load(inputs.in_mask),
            load(inputs.in_structures),
            load(inputs.in_tissue),
            {name: load(path) for name, path in zip(labels.DSEG_NAMES, inputs.in_probabilities, strict=True)},
            inputs.label_table,
            load(inputs.in_dseg) if isdefined(inputs.in_dseg) else None,
            load(inputs.in_hippocampus) if isdefined(inputs.in_hippocampus) else None,
            load(inputs.in_labels) if isdefined(inputs.in_labels) else None,
            outputs.own_desc(model_files.title(inputs.networks.get("segmentation", ""))),
        )

    def native(self, names: Names) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray, int]]]:
        """Return the ending of every image on the grid of the source image: data, affine and its code."""
        # The affine of the source image itself: that of the work folder went through another header.
        affine, code = np.asarray(self.grid.affine), files.geometry_code(self.grid)
        for ending, values in self._arrays(names):
            yield ending, (values, affine, code)

    def _arrays(self, names: Names) -> Iterator[tuple[str, np.ndarray]]:
        structures = self.structures.data.numpy()
        dseg = labels.load(self.label_table).lookup("dseg")[structures]
        if self.dseg is not None:
            dseg = self.dseg.data.numpy()
        feta = labels.numbering(self.label_table, "feta")
        data = {
            "mask": self.mask.data.numpy() > 0,
            "dseg": dseg,
            "structures": structures,
            "tissue": self.tissue.data.numpy(),
            "feta": feta[structures] if feta is not None else None,
            "hippocampus": self.hippocampus.data.numpy() if self.hippocampus is not None else None,
            "own_labels": self.labels.data.numpy() if self.labels is not None else None,
        }
        yield names.preproc, rounding.as_stored(self.preproc.data.numpy(), kind_of(self.source))
        for name, values in data.items():
            if values is not None:
                output = outputs.load()[name]
                yield output.ending(network=self.own_desc), values.astype(output.dtype)
        for label, volume in self.probabilities.items():
            yield outputs.ending("probseg", label=label), rounding.as_probability(volume.data.numpy())

    def to_resample(self) -> Native:
        """Return what is resampled in the output spaces."""
        return Native(self.preproc, self.mask, self.structures, self.probabilities, kind_of(self.source))
