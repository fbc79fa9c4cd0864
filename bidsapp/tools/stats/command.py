"""``brainseg stats``: the volumes of derivatives as files ``aseg.stats`` in FreeSurfer's layout."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np

from ....interfaces.io import files
from ....interfaces.io.dataset import SLOPPY
from ....models.errors import BrainsegError, DatasetError, OutputError
from ....models.io import outputs
from ....models.io.images import open_image
from ...reports import derivatives
from ...reports.derivatives import Result
from . import aseg

FOLDER = "fs-stats"
"""Folder in the derivatives for the files, unless the user names another."""


def run(args: argparse.Namespace) -> int:
    """Write an ``aseg.stats`` for every participant-session; return the exit code, 1 if one has none.

    What is left out, and why, is printed.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg stats``.

    Raises
    ------
    DatasetError
        If the folder has no volumes of these participants.
    OutputError
        If a file cannot be written.
    """
    root = Path(args.folder).expanduser()
    target = Path(args.to).expanduser() if args.to else root / FOLDER
    if not root.is_dir():
        raise DatasetError(root, "the folder does not exist", "Give the derivatives of brainseg-bids")
    wanted = {label.removeprefix("sub-") for label in args.participant_label or ()}
    results = [r for r in derivatives.load_all(root) if not wanted or r.participant in wanted]
    for label in sorted(wanted - {result.participant for result in results}):
        print(f"note: sub-{label}: it is not in {root}", file=sys.stderr)
    written = [path for result in results if (path := _write(result, target)) is not None]
    if not written:
        reason = "it has no volumes" + (" of these participants" if wanted else "")
        raise DatasetError(root, reason, "Run the participant level of brainseg-bids first")
    if any(result.sloppy for result in results):
        print(f"note: {SLOPPY}", file=sys.stderr)
    print(f"{len(written)} files aseg.stats in {target}")
    place = shlex.quote(str(target))
    command = f"asegstats2table --subjects $(ls {place}) --meas volume --tablefile aseg.tsv"
    print(f"SUBJECTS_DIR={place} {command}")
    missing = len(results) - len(written) + len(wanted - {result.participant for result in results})
    return 1 if missing else 0


def _write(result: Result, target: Path) -> Path | None:
    """Write the file of a participant-session and return its path; None, and a note, without volumes."""
    path = target / result.key / "stats" / "aseg.stats"
    image = result.file(outputs.ending("structures"))
    if not result.volumes or image is None:
        lacking = "its volumes" if not result.volumes else "its labels (desc-aseg_dseg.nii.gz)"
        print(f"note: {result.key}: {lacking} are missing (it is {result.state}); left out", file=sys.stderr)
        return None
    if _foreign(path):
        print(f"note: {path} is of another program; left as it is. Give another --to", file=sys.stderr)
        return None
    try:
        affine = open_image(image).affine
        text = aseg.text(result, float(abs(np.linalg.det(affine[:3, :3]))))
    except BrainsegError as error:
        print(f"note: {result.key}: {error} Left out", file=sys.stderr)
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return files.write_text(path, text)
    except OSError as error:
        reason = f"it could not be written ({error.strerror or error})"
        raise OutputError(path, reason, "Check free space and permissions, or give another folder") from error


def _foreign(path: Path) -> bool:
    """Return whether a file is there that this program did not write."""
    try:
        return aseg.MAKER not in path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return path.exists()
