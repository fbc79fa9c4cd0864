"""``brainseg stats``: derivatives in FreeSurfer's layout, for programs and scripts that read its files."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ....interfaces.io import files
from ....interfaces.io.dataset import SLOPPY
from ....models.errors import BrainsegError, DatasetError, OutputError, UsageError
from ....models.io import outputs
from ....models.io.images import open_image
from ...reports import derivatives
from ...reports.derivatives import Result
from ...status import records
from . import aparc, aseg, mri

FOLDER = "fs-stats"
"""Folder in the derivatives for the files, unless the user names another."""

STATES = {
    "failed": "failed",
    "running": "is not finished",
    "skipped": "was skipped",
    "missing": "was not processed",
}
"""What is said of a participant-session in a state."""


def run(args: argparse.Namespace) -> int:
    """Write the files of every participant-session; return the exit code, 1 if one has none.

    What is left out, and why, is printed.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg stats``.

    Raises
    ------
    UsageError
        If both kinds of folders are named.
    DatasetError
        If the folder has no volumes of these participants.
    OutputError
        If a file cannot be written.
    """
    root = Path(args.folder).expanduser()
    if args.to and args.fs_dir:
        raise UsageError(None, "--to and --fs-dir name two folders", "--fs-dir writes the tables, too")
    target = Path(args.fs_dir or args.to or root / FOLDER).expanduser()
    if not root.is_dir():
        raise DatasetError(root, "the folder does not exist", "Give the derivatives of brainseg-bids")
    about = derivatives.read_json(root / "dataset_description.json")
    if about and about.get("DatasetType", "raw") == "raw" and not records.folder(root).is_dir():
        raise DatasetError(root, "it is a raw dataset", "Give the derivatives of brainseg-bids")
    wanted = {label.removeprefix("sub-") for label in args.participant_label or ()}
    results = [r for r in derivatives.load_all(root) if not wanted or r.participant in wanted]
    for label in sorted(wanted - {result.participant for result in results}):
        _note(f"sub-{label}: it is not in {root}")
    written = [result for result in results if _write(result, target, bool(args.fs_dir))]
    if not written:
        reason = "it has no volumes" + (" of these participants" if wanted else "")
        raise DatasetError(root, reason, "Run the participant level of brainseg-bids first")
    if any(result.sloppy for result in results):
        _note(SLOPPY)
    _say(target, written, images=bool(args.fs_dir))
    missing = len(results) - len(written) + len(wanted - {result.participant for result in results})
    return 1 if missing else 0


def _say(target: Path, written: list[Result], *, images: bool) -> None:
    """Print what was written, and the commands that read it."""
    more = " with images (mri)" if images else ""
    print(f"{len(written)} files aseg.stats in {target}{more}")
    place = shlex.quote(str(target))
    subjects = f"SUBJECTS_DIR={place}"
    print(f"{subjects} asegstats2table --subjects $(ls {place}) --meas volume --tablefile aseg.tsv")
    if divided := [result for result in written if aparc.volumes(result)]:
        print(f"{len(divided)} of them have lh.aparc.stats and rh.aparc.stats: volumes, no thickness or area")
        options = f"--subjects $(ls {place}) --hemi lh --meas volume --tablefile lh.aparc.tsv"
        print(f"{subjects} aparcstats2table {options}")


def _state(result: Result) -> str:
    """Return the state of a participant-session as the end of a sentence that begins with "it"."""
    return STATES.get(result.state, f"is {result.state}")


def _write(result: Result, target: Path, images: bool) -> bool:
    """Write the files of a participant-session; False, and a note, without volumes."""
    folder = target / result.key
    image = result.file(outputs.ending("structures"))
    if not result.volumes or image is None:
        lacking = "its volumes" if not result.volumes else "its labels (desc-aseg_dseg.nii.gz)"
        _note(f"{result.key}: {lacking} are missing (it {_state(result)}); left out")
        return False
    if images and (lacks := mri.missing(result)):
        _note(f"{result.key}: {', '.join(lacks)} is missing (it {_state(result)}); left out")
        return False
    if (theirs := _foreign(folder, images)) is not None:
        _note(
            f"{theirs} is of another program; left as it is. Give another {'--fs-dir' if images else '--to'}"
        )
        return False
    try:
        affine = open_image(image).affine
        tables = dict(_tables(result, float(abs(np.linalg.det(affine[:3, :3])))))
    except BrainsegError as error:
        _note(f"{result.key}: {error} Left out")
        return False
    place = folder
    try:
        for name, text in tables.items():
            place = folder / "stats" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(place, text)
        if images:
            place = folder / "mri"
            for said in mri.write(result, place):
                _note(f"{result.key}: {said}")
    except OSError as error:
        reason = f"it could not be written ({error.strerror or error})"
        raise OutputError(
            place, reason, "Check free space and permissions, or give another folder"
        ) from error
    return True


def _tables(result: Result, voxel_mm3: float) -> Iterator[tuple[str, str]]:
    """Yield name and content of every table."""
    yield "aseg.stats", aseg.text(result, voxel_mm3)
    if parcels := aparc.volumes(result):
        for side in aparc.SIDES:
            yield f"{side}.aparc.stats", aparc.text(result, parcels, side)


def _foreign(folder: Path, images: bool) -> Path | None:
    """Return a file of a participant-session that this program did not write, if there is one."""
    own = folder / "stats" / "aseg.stats"
    if images and not own.exists() and (folder / "mri").exists():
        return folder / "mri"
    for path in (own, *(folder / "stats" / f"{side}.aparc.stats" for side in aparc.SIDES)):
        try:
            if aseg.MAKER not in path.read_text(encoding="utf-8", errors="replace").splitlines():
                return path
        except FileNotFoundError:
            continue
        except OSError:
            if path.exists():
                return path
    return None


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
