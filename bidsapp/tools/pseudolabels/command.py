"""``brainseg pseudolabel``: transfer the labels of one scan to others by registration."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....interfaces import quality
from ....interfaces.io import files
from ....models.data import model_files
from ....models.errors import InputError, UsageError
from ....models.geometry.volume import Volume
from ....models.io import conform
from ....models.io.images import open_image
from ....models.pipeline.process import Processed
from ....models.population import populations
from ....models.quality import measures
from ....models.registration import registration
from ....models.registration.result import Anatomy
from .. import anatomy
from ..compute import device, set_threads
from . import records, sources
from .records import Record
from .sources import Source


def run(args: argparse.Namespace) -> int:
    """Transfer the labels of an atlas to scans, by the inverse of their registration; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg pseudolabel``.

    Raises
    ------
    UsageError
        If the arguments do not fit each other.
    InputError
        If the atlas cannot be used, or the only scan.
    """
    out, least = Path(args.out), args.min_quality
    if least is not None and not 0 < least < 1:
        raise UsageError(None, f"--min-quality {least:g} is no Dice", "Give one between 0 and 1")
    found = sources.find([Path(path) for path in args.scans], args.suffix)
    labels = _labels(args)
    set_threads(args)
    atlas = _Atlas(args, labels)
    code, done = 0, []
    for source in found:
        record = _record(source, atlas, out, args)
        if record.failed and len(found) == 1:
            raise InputError(source.image, record.failed)
        code = max(code, InputError.exit_code if record.failed else 0)
        done.append((source, record))
    kept = records.write_tables(out, done, least)
    print(f"{out}: {kept} of {len(found)} scans have labels (scans.tsv, pairs.tsv)")
    return code


class _Atlas:
    """The scan with labels; segmented when the first scan needs it."""

    def __init__(self, args: argparse.Namespace, labels: Volume) -> None:
        self.path, self.labels, self.on = Path(args.atlas), labels, device(args)
        self.kind = np.min_scalar_type(int(labels.data.max()))
        self._anatomy: Anatomy | None = None

    @property
    def anatomy(self) -> Anatomy:
        if self._anatomy is None:
            self._anatomy = anatomy.read(self.path, self.on)
        return self._anatomy


def _record(source: Source, atlas: _Atlas, out: Path, args: argparse.Namespace) -> Record:
    """Label a scan unless an earlier run did, and return what became of it."""
    least, path = args.min_quality, records.labels_path(out, source)
    key = _key(source, args)
    known = records.read(out, source, key)
    if known and not known.failed and (known.reason(least) or (known.labeled and path.is_file())):
        print(f"{source.image.name}: done before", file=sys.stderr)
        record = known
    else:
        try:
            record = _labeled(source, atlas, path, key, args)
        except InputError as error:
            print(error, file=sys.stderr)
            record = Record(key, failed=error.reason)
        records.write(out, source, record)
    if reason := record.reason(least):
        print(f"{source.image.name}: left out, {reason}")
        if path.is_file():
            path.unlink()
            records.write(out, source, replace(record, labeled=False))
    else:
        print(path)
    return record


def _labeled(source: Source, atlas: _Atlas, path: Path, key: str, args: argparse.Namespace) -> Record:
    """Rate a scan, and write its labels if it passes."""
    record = Record(key, source.score, None, source.rating or "")
    if source.rating and record.reason(args.min_quality):
        return record  # the derivatives say so: nothing is computed
    done = anatomy.processed(source.image, atlas.on)
    if source.rating is None:
        rated = _rated(done)
        record = replace(record, expected_dice=rated["score"], rating=rated["verdict"])
    if args.min_quality is not None and record.reason(args.min_quality):
        return record
    scan = done.anatomy
    found = registration.register(scan, atlas.anatomy, refine=args.refine, network=registration.NETWORK)
    grid = scan.image.grid
    carried = found.inverse.resample(atlas.anatomy.structures, grid, "label").data.numpy()
    record = replace(record, overlap=_overlap(carried, scan.structures.data.numpy()))
    if record.reason(args.min_quality):
        return record
    moved = found.inverse.resample(atlas.labels, grid, "label").data.numpy()
    image = open_image(source.image)
    data = np.rint(moved).astype(atlas.kind)
    files.write_image(path, data, image.affine, files.geometry_code(image))
    return replace(record, labeled=True)


def _rated(done: Processed) -> dict:
    """Return the QC rating of a scan and its segmentation."""
    found, adult = done.segmentation, populations.load("adult")
    return quality.assess(
        done.corrected,
        done.brain.mask,
        found.structures,
        found.probabilities,
        scan=done.scan,
        stripped=done.brain.stripped,
        plausible_ml=adult.brain_ml,
        uncertainty=found.uncertainty,
    )


def _overlap(carried: np.ndarray, own: np.ndarray) -> float:
    """Return the mean Dice of the structures of a scan and those that the registration carries to it."""
    there = [int(k) for k in np.unique(own) if k]
    return float(np.mean([measures.dice(carried == k, own == k) for k in there])) if there else 0.0


def _key(source: Source, args: argparse.Namespace) -> str:
    """Return a digest of everything that the labels of a scan depend on."""
    states = [(path, Path(path).stat()) for path in (args.atlas, args.labels, source.image)]
    words = [f"{Path(path).absolute()} {state.st_size} {state.st_mtime_ns}" for path, state in states]
    used = (*populations.load("adult").networks, registration.NETWORK)
    words += [str(model_files.read_card(name).get("sha256")) for name in used]
    words += [str(args.refine), str(source.rating), str(source.score)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _labels(args: argparse.Namespace) -> Volume:
    """Return the labels of the atlas, after checking that they fit it."""
    for path in (Path(args.atlas), Path(args.labels)):
        if not path.is_file():
            raise InputError(path, "the file does not exist", "Check the path")
    labels = conform.read(args.labels)
    if labels.grid.shape != conform.read(args.atlas).grid.shape:
        reason = "the labels are not on the grid of the atlas"
        raise InputError(args.labels, reason, "Resample them to that grid")
    return labels
