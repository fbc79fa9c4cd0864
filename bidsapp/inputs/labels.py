"""Participants and sessions of the dataset that the settings choose."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from ...models.errors import DatasetError, InputError, UsageError
from ..config.settings import Settings
from . import names, sidecars
from .index import Image
from .participants import Demographics

SEVERAL = 8
"""Number of names listed in a message."""


def check_dataset(root: Path) -> list[str]:
    """Check that ``root`` is a BIDS dataset; returns notes.

    Raises
    ------
    DatasetError
        If it does not exist or has no usable ``dataset_description.json``.
    """
    if not root.is_dir():
        what = "it is not a folder" if root.exists() else "the folder does not exist"
        raise DatasetError(root, what, "Give the folder that holds dataset_description.json")
    path = root / "dataset_description.json"
    if not path.exists():
        remedy = 'If it is a BIDS dataset, add the file: {"Name": "my study", "BIDSVersion": "1.10.0"}'
        nearby = [p.parent for p in sorted(root.glob("*/dataset_description.json"))] + [
            p for p in root.parents if (p / "dataset_description.json").exists()
        ]
        if nearby:
            remedy = f"Did you mean {nearby[0]}?"
        raise DatasetError(root, "it has no dataset_description.json, so it is not a BIDS dataset", remedy)
    try:
        notes: list[str] = []
        description = sidecars.read_object(path, notes)
    except InputError as error:
        remedy = error.remedy.replace(" or remove it", "")  # a dataset needs the file
        raise DatasetError(error.path, error.reason, remedy) from None
    if description.get("DatasetType", "raw") != "raw":
        notes.append(f"The dataset says that it is of type {description['DatasetType']!r}, not raw.")
    return notes


def participants(settings: Settings, people: Demographics) -> list[str]:
    """Return the labels to process: those selected, or all.

    Raises
    ------
    DatasetError
        If there are none.
    UsageError
        If a selected one does not exist.
    """
    root = settings.bids_dir
    there = set(names.participants(root))
    if not settings.participant_label:
        if not there:
            alike = names.folders(root)
            remedy = f"Found {', '.join(alike[:SEVERAL])}; BIDS wants names like sub-01" if alike else ""
            reason = "it has no participants (no folder sub-...)"
            raise DatasetError(root, reason, remedy or "Check the path")
        return sorted(there, key=natural)
    # A label in the table without a folder is a participant without images, not a typing error.
    known = there | people.without_folder
    unknown = [label for label in settings.participant_label if label not in known]
    if unknown:
        listed = ", ".join(f"sub-{label}" for label in unknown)
        remedy = f"Nearest are {', '.join(f'sub-{n}' for n in nearest(unknown, there))}" if there else ""
        reason = f"it has no participant {listed} (number of participants: {len(there)})"
        raise UsageError(root, reason, remedy)
    return sorted(settings.participant_label, key=natural)


def sessions(settings: Settings, found: list[Image]) -> set[str]:
    """Return the selected sessions; at least one participant has each.

    Raises
    ------
    UsageError
        If no participant has an image in a selected session.
    """
    there = {image.session for image in found if image.session is not None}
    unknown = [label for label in settings.session_label if label not in there]
    if unknown:
        listed = ", ".join(f"ses-{label}" for label in unknown)
        others = ", ".join(f"ses-{n}" for n in nearest(unknown, there)) if there else "none"
        reason = f"no participant has an anatomical image in {listed}"
        raise UsageError(settings.bids_dir, reason, f"Sessions there: {others}")
    return set(settings.session_label)


def no_image(settings: Settings, label: str, there: list[str]) -> InputError:
    """Return the error of a participant without an image to work on.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    label : str
        The participant.
    there : list of str
        Suffixes of the anatomical images that are not selected.
    """
    folder = settings.bids_dir / f"sub-{label}"
    if not folder.is_dir():
        return InputError(
            folder, "participants.tsv lists the participant, but there is no folder", "Add the images"
        )
    remedy = "Add one under anat/, or choose other participants with --participant-label"
    if there:
        remedy = f"There are {', '.join(there)}: see --modalities and --bids-filter-file"
    wanted = ", ".join(settings.suffixes) if settings.modalities else "T1w, T2w, FLAIR, ..."
    return InputError(folder, f"the participant has no image to work on ({wanted})", remedy)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key for natural sorting: run-2 before run-10.

    Examples
    --------
    >>> sorted(["run-10", "run-2", "a"], key=natural)
    ['a', 'run-2', 'run-10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part]


def nearest(wanted: list[str], known: set[str]) -> list[str]:
    """Return the existing names that are most similar to the wanted ones.

    Examples
    --------
    >>> nearest(["1"], {"01", "02", "11", "zz"})
    ['01', '11', '02']
    """
    every = sorted(known, key=natural)
    out: list[str] = []
    for name in wanted:
        alike = [n for n in every if n.lower().lstrip("0") == name.lower().lstrip("0")]
        alike += difflib.get_close_matches(name, every, n=SEVERAL, cutoff=0.5)
        out += alike or every[:SEVERAL]
    out = list(dict.fromkeys(out))
    return (out + [n for n in every if n not in out][: max(0, 3 - len(out))])[:SEVERAL]
