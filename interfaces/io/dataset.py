"""What the derivatives say of themselves as a dataset; written before anything else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from . import derivatives, files

BIDS_VERSION = "1.10.0"
NAME = "brainseg-bids"

IGNORED = """\
*.html
logs/
group*
sub-*/figures
sub-*/ses-*/figures
*_xfm.*
*_volumes.*
*_desc-quality_*
*_jacobian.*
*_cohort-*
"""

README = """\
# Anatomical derivatives by brainseg-bids {version}

For every participant (and session) a folder `anat` with, on the grid of the source image:

| File | Content |
|---|---|
| `desc-preproc_T1w` (or the suffix of the source) | bias-corrected image, not skull-stripped |
| `desc-brain_mask` | brain |
| `dseg` | 1 gray matter, 2 white matter, 3 cerebrospinal fluid |
| `label-{{GM,WM,CSF}}_probseg` | their probabilities |
| `desc-aseg_dseg` | structures by FreeSurfer id; names in `desc-aseg_dseg.tsv` |
| `desc-feta_dseg` | fetal brains: the seven tissues of FeTA; names in `desc-feta_dseg.tsv` |
| `desc-hippocampus_dseg` | anterior and posterior hippocampus; names in `desc-hippocampus_dseg.tsv` |
| `desc-hippocampus_volumes.tsv` | their volumes |
| `label-lesion_mask`, `label-lesion_probseg` | lesions and their probability |
| `desc-lesion_volumes.tsv` | volume and place of every lesion |
| `desc-tissue_dseg` | six tissues; names in `desc-tissue_dseg.tsv` |
| `desc-aseg_volumes.tsv` | volume of every structure |
| `desc-quality_metrics.json` | verdict, checks and image quality metrics, with definitions |
| `desc-quality_structures.tsv` | expected Dice and signs of failure of every structure |
| `desc-preproc_T2w` and the like | other contrasts, aligned to the reference |
| `from-*_to-*_mode-image_xfm.h5` | transform to a template and back (ITK composite) |
| `space-*` | the same in the template's space |

`sub-*.html` are the reports, `index.html` their list (group level). `logs/CITATION.md` describes the methods,
ready for a paper. `logs/status` says of every participant how its processing ended.

The segmentation is automatic: look at it before you use it. For research; not a medical device.
"""


def write_dataset_description(
    out_dir: Path, bids_root: Path, version: str, links: dict[str, Path] | None = None
) -> list[Path]:
    """Write what makes a folder a BIDS derivative dataset: description, README, label tables, `.bidsignore`.

    Several processes may do this at once; files that are right already are left alone.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    bids_root : Path
        The dataset that is processed.
    version : str
        Version of the program.
    links : dict of str to Path, optional
        Further datasets that the derivatives refer to, by name.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    BrainsegError
        If one cannot be written.
    """
    out_dir, bids_root = Path(out_dir), Path(bids_root)
    path = out_dir / "dataset_description.json"
    before = _read(path)
    content = before | description(out_dir, bids_root, version)
    # Results of earlier runs refer to the datasets that those were given.
    known = before.get("DatasetLinks")
    named = {name: link_to(folder, out_dir) for name, folder in (links or {}).items()}
    content["DatasetLinks"] = (known if isinstance(known, dict) else {}) | named | content["DatasetLinks"]
    texts = {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n",
        out_dir / ".bidsignore": IGNORED,
        out_dir / "README": README.format(version=version),
    }
    for place, text in texts.items():
        if not (place.is_file() and place.read_text(encoding="utf-8") == text):
            files.write_text(place, text)
    tables = {
        # The tables of all populations in one: an id means the same in each that has it.
        "desc-aseg_dseg.tsv": sorted(
            {row for name in ("adult", "fetal", "fetal-callosum") for row in derivatives.label_rows(name)}
        ),
        "desc-feta_dseg.tsv": derivatives.label_rows("feta"),
        "desc-hippocampus_dseg.tsv": derivatives.label_rows("hippocampus"),
        "desc-tissue_dseg.tsv": derivatives.label_rows("tissue"),
        "dseg.tsv": derivatives.label_rows("dseg"),
    }
    for name, rows in tables.items():
        if not (out_dir / name).is_file():
            files.write_table(out_dir / name, derivatives.LABEL_COLUMNS, rows)
    return [*texts, *(out_dir / name for name in tables)]


def description(out_dir: Path, bids_root: Path, version: str) -> dict[str, Any]:
    """Content of ``dataset_description.json``."""
    raw = _read(bids_root / "dataset_description.json")
    content: dict[str, Any] = {
        "Name": f"{NAME} derivatives of {raw.get('Name') or bids_root.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
    }
    if isinstance(raw.get("License"), str):
        content["License"] = raw["License"]
    content["HowToAcknowledge"] = "Include the text of logs/CITATION.md in the methods section"
    content["GeneratedBy"] = [
        {
            "Name": NAME,
            "Version": version,
            "Description": "BIDS App for brain segmentation, volumes and alignment",
        }
    ]
    link = link_to(bids_root, out_dir)
    source = {"URL": link}
    if isinstance(raw.get("DatasetDOI"), str):
        source["DOI"] = raw["DatasetDOI"]
    content["SourceDatasets"] = [source]
    content["DatasetLinks"] = {"raw": link}
    return content


def link_to(bids_root: Path, out_dir: Path) -> str:
    """How the derivatives refer to their dataset: relative if the two lie together, else by file URI.

    Examples
    --------
    >>> link_to(Path("/data/raw"), Path("/data/raw/derivatives/brainseg"))
    '../..'
    >>> link_to(Path("/data/raw"), Path("/data/derivatives"))
    '../raw'
    >>> link_to(Path("/data/raw"), Path("/scratch/out"))
    'file:///data/raw'
    """
    bids_root, out_dir = Path(bids_root).absolute(), Path(out_dir).absolute()
    if bids_root in out_dir.parents or bids_root.parent == out_dir.parent:
        return Path(os.path.relpath(bids_root, out_dir)).as_posix()
    return bids_root.as_uri()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
