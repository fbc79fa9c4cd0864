"""Demonstration BIDS dataset of one fetal brain, made offline from an atlas that comes with the program.

``python -m brainseg.bidsapp.demo --fetal DIR`` writes it: the image of a fetus of 25 weeks, as a
reconstruction, and its tissues as derivatives (``models/data/samples/fetal.json``).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..interfaces.io import files
from ..models.data import FOLDER
from . import __version__

SAMPLE = FOLDER / "samples" / "fetal.json"
"""Description of the sample; image and labels stand beside it."""

AUTHORS = [
    *("L. Fidon", "E. Viola", "N. Mufti", "A. L. David", "A. Melbourne", "P. Demaerel", "S. Ourselin"),
    *("T. Vercauteren", "J. Deprest", "M. Aertsen"),
]

README = """\
# brainseg-bids demonstration, fetal brain

sub-01 is one week of an atlas, the average of several fetuses: {about}. {changes}.
It is no person. derivatives/atlas has its tissues: {labels}.

{note}.
"""


def sample() -> dict[str, Any]:
    """Return the description of the sample, with ``image`` and ``tissues``, its files.

    Examples
    --------
    >>> sample()["license"], sample()["image"].name
    ('CC0-1.0', 'fetal_T2w.nii.gz')
    """
    about = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return about | {
        name: SAMPLE.with_name(f"fetal_{end}.nii.gz") for name, end in (("image", "T2w"), ("tissues", "dseg"))
    }


def build(folder: Path | str) -> Path:
    """Write the demonstration dataset.

    Parameters
    ----------
    folder : path-like
        The folder to write; it is made if it is missing.

    Returns
    -------
    Path
        The folder.
    """
    folder, about = Path(folder), sample()
    stem = Path("sub-01") / "anat" / "sub-01_rec-srr"
    atlas = folder / "derivatives" / "atlas"
    for source, target in (
        (about["image"], folder / f"{stem}_T2w.nii.gz"),
        (about["tissues"], atlas / f"{stem}_dseg.nii.gz"),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    files.write_text(
        folder / "README.md", README.format(**about | {"changes": about["changes"].capitalize()})
    )
    files.write_json(folder / f"{stem}_T2w.json", {"Modality": "MR", "BodyPart": "BRAIN"})
    rows = [("sub-01", f"{about['weeks']:g}")]
    files.write_table(folder / "participants.tsv", ("participant_id", "gestational_age"), rows)
    weeks = {"Description": "Gestational age of the atlas", "Units": "week"}
    files.write_json(folder / "participants.json", {"gestational_age": weeks})
    common = {
        "BIDSVersion": "1.10.0",
        "License": about["license"],
        "Authors": AUTHORS,
        "ReferencesAndLinks": [f"https://doi.org/{about['doi']}"],
        "GeneratedBy": [{"Name": "brainseg-bids", "Version": __version__}],
    }
    named = {"Name": "Tissues of the atlas", "DatasetType": "derivative"}
    files.write_json(atlas / "dataset_description.json", common | named)
    # Written last: a folder with this file is a complete dataset.
    named = {"Name": "brainseg-bids demonstration, fetal brain", "DatasetType": "raw"}
    files.write_json(folder / "dataset_description.json", common | named)
    return folder
