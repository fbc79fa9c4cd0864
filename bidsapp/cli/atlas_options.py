"""The arguments of ``brainseg-bids`` for atlases and what is measured in their parcels."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ...models.parcellation import names


def add_atlases(add: Callable[..., argparse.Action]) -> None:
    """Add ``--atlases`` and ``--maps``.

    Parameters
    ----------
    add : callable
        Adds one argument to a section of the parser.
    """
    add(
        "--atlases",
        nargs="+",
        metavar="ATLAS",
        complete="atlas",
        help="further atlases whose parcels are carried into the participant's gray matter: "
        f"{', '.join(names.shipped())}, TemplateFlow's as NAME[:desc-DESC][:SPACE], or "
        "NAME=dseg.nii.gz[:SPACE] with a table dseg.tsv (index, name) beside it; SPACE is one of "
        "--output-spaces (default: none; adults have the parcels of DesikanKilliany, see --steps parcels)",
    )
    add(
        "--maps",
        nargs="+",
        metavar="NAME=PATH",
        complete="file",
        help="images to measure in all parcels, such as T2w={folder}/anat/{key}_T2w.nii.gz, aligned to the "
        "reference image; {key} is sub-01_ses-1, {folder} sub-01/ses-1, {participant} 01, {session} 1; "
        "wildcards may stand in it; a relative path is one in the dataset",
    )
