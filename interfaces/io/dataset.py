"""Description of the derivatives as a dataset, written before anything else."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ...models.io import outputs
from ...models.population.labels import LabelTable
from . import color_tables, container, derivatives, files

BIDS_VERSION = "1.10.0"
NAME = "brainseg-bids"

SLOPPY = "Computed with --sloppy: coarse, for trying only; not for analysis"
"""What sloppy results are marked with."""

SLOPPY_NAME = " (sloppy)"
"""End of the name of a dataset of sloppy results."""

IGNORED = """\
*.html
logs/
ratings
group*
sub-*/figures
sub-*/ses-*/figures
*_xfm.*
*_volumes.*
*_morph.*
*_desc-quality_*
*_jacobian.*
*_cohort-*
*.lut.txt
fs-stats
"""

README = """\
# Anatomical derivatives by brainseg-bids {version}

For every participant (and session) a folder `anat` with these files, images on the grid of the source:

{table}

`M` is the suffix of the source image (such as T1w), `M2` that of another contrast, `SPACE` a template,
`ATLAS` an atlas, and `NETWORK` a network of your own.
Images in template space have `space-SPACE_` in their names.

`sub-*.html` are the reports, `index.html` their list (group level). `logs/CITATION.md` describes the methods,
ready for a paper. `logs/status` holds the state of every participant.

The segmentation is automatic: inspect it before use. For research; not a medical device.
"""


def write_dataset_description(
    out_dir: Path,
    bids_root: Path,
    version: str,
    links: dict[str, Path] | None = None,
    *,
    sloppy: bool = False,
    label_files: Collection[str] | None = None,
) -> list[Path]:
    """Write description, README, label and color tables and `.bidsignore` of a BIDS derivative dataset.

    Several processes may call this at once; files that are up to date are not written again.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    bids_root : Path
        Root of the source dataset.
    version : str
        Version of the program.
    links : dict of str to Path, optional
        Other datasets that the derivatives refer to, by name.
    sloppy : bool
        Whether some of the results are coarse, for trying only.
    label_files : collection of str, optional
        Names of the label tables to write (default: all). Tables that are there stay.

    Returns
    -------
    list of Path
        All these files.

    Raises
    ------
    BrainsegError
        If a file cannot be written.
    """
    out_dir, bids_root = Path(out_dir), Path(bids_root)
    path = out_dir / "dataset_description.json"
    before = _read(path)
    content = before | description(out_dir, bids_root, version, sloppy)
    # Results of earlier runs refer to other datasets of precomputed inputs.
    known = _links(before)
    named = {name: link_to(folder, out_dir, known.get(name)) for name, folder in (links or {}).items()}
    content["DatasetLinks"] = known | named | content["DatasetLinks"]
    texts = {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n",
        out_dir / ".bidsignore": IGNORED,
        out_dir / "README": README.format(version=version, table=_table()),
    }
    for place, text in texts.items():
        if not (place.is_file() and place.read_text(encoding="utf-8") == text):
            files.write_text(place, text)
    return [*texts, *_write_label_tables(out_dir, label_files)]


def _write_label_tables(out_dir: Path, wanted: Collection[str] | None) -> list[Path]:
    """Write the label and color tables of all populations' labels, of which those that are there stay."""
    # An index has the same meaning in every table, so those of all populations go into one file.
    tables = {
        out_dir / file: sorted({row for name in names for row in derivatives.label_rows(name)})
        for file, names in outputs.label_tables().items()
        if wanted is None or file in wanted
    }
    for path, rows in tables.items():
        if not path.is_file():
            files.write_table(path, derivatives.LABEL_COLUMNS, rows)
        colors = path.with_name(outputs.color_table(path.name))
        if not colors.is_file():
            _write_colors(colors, rows)
    return [*tables, *(path.with_name(outputs.color_table(path.name)) for path in tables)]


def _write_colors(path: Path, rows: Iterable[tuple[Any, ...]]) -> Path:
    """Write the color table of rows of a label table."""
    index, name, color = map(derivatives.LABEL_COLUMNS.index, ("index", "name", "color"))
    return color_tables.write(path, [(row[index], row[name], row[color]) for row in rows])


def write_label_table(out_dir: Path, desc: str, table: LabelTable) -> Path:
    """Write the label table and the color table of a network of the user; return the path of the first.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    desc : str
        Value of ``desc`` in the names of its labels.
    table : LabelTable
        The table.
    """
    path = out_dir / outputs.ending("own_labels", network=desc).replace(".nii.gz", ".tsv")
    rows = [derivatives.label_cells(label) for label in table]
    _write_colors(path.with_name(outputs.color_table(path.name)), rows)
    return files.write_table(path, derivatives.LABEL_COLUMNS, rows)


def description(out_dir: Path, bids_root: Path, version: str, sloppy: bool = False) -> dict[str, Any]:
    """Return the content of ``dataset_description.json``; it says so if results are sloppy."""
    raw = _read(bids_root / "dataset_description.json")
    content: dict[str, Any] = {
        "Name": f"{NAME} derivatives of {raw.get('Name') or bids_root.name}{SLOPPY_NAME if sloppy else ''}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
    }
    if isinstance(raw.get("License"), str):
        content["License"] = raw["License"]
    content["HowToAcknowledge"] = "Include the text of logs/CITATION.md in the methods section"
    maker: dict[str, Any] = {
        "Name": NAME,
        "Version": version,
        "Description": "BIDS App for brain segmentation, volumes and alignment"
        + (f". {SLOPPY}" if sloppy else ""),
    }
    if image := container.description():
        maker["Container"] = image
    content["GeneratedBy"] = [maker]
    link = link_to(bids_root, out_dir, _links(_read(out_dir / "dataset_description.json")).get("raw"))
    source = {"URL": link}
    if isinstance(raw.get("DatasetDOI"), str):
        source["DOI"] = raw["DatasetDOI"]
    content["SourceDatasets"] = [source]
    content["DatasetLinks"] = {"raw": link}
    return content


def is_marked_sloppy(out_dir: Path) -> bool:
    """Return whether the description of the derivatives says that some results are sloppy."""
    return str(_read(Path(out_dir) / "dataset_description.json").get("Name")).endswith(SLOPPY_NAME)


def link_to(bids_root: Path, out_dir: Path, known: object = None) -> str:
    """Return the link from the derivatives to a dataset: a relative path if they are close, else a URI.

    In a container it is one that holds outside, from the bound folders. Where these are not known, the link
    that stands is kept.

    Parameters
    ----------
    bids_root : Path
        Root of the dataset.
    out_dir : Path
        Root of the derivatives.
    known : object
        The link that stands in the description.
    """
    bids_root, out_dir = Path(bids_root).absolute(), Path(out_dir).absolute()
    if outside := container.link(bids_root, out_dir):
        return outside
    if container.description() and isinstance(known, str) and known:
        return known
    return container.relative(bids_root, out_dir)


def _table() -> str:
    """Return the table of files in Markdown."""
    rows = [f"| `{name}` | {words} |" for name, words, _ in outputs.table()]
    return "\n".join(["| File | Content |", "|---|---|", *rows])


def _links(content: dict[str, Any]) -> dict[str, Any]:
    """Return the links of a description."""
    found = content.get("DatasetLinks")
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
