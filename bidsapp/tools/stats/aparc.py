"""The text of FreeSurfer's ``lh.aparc.stats`` and ``rh.aparc.stats``: a row for every parcel of the cortex.

``aparcstats2table`` reads columns by their place: name, vertices, area, volume, thickness and others. The
program has no surfaces, so columns before the volume hold ``n/a``, which no reader takes for a number, and
those after it are missing. Source: https://surfer.nmr.mgh.harvard.edu/fswiki/MorphometryStats
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ....models.io import outputs
from ... import __version__
from ...reports import derivatives
from ...reports.derivatives import Result, number
from . import aseg

ATLAS = "DesikanKilliany"
"""Parcels with the names of FreeSurfer's ``aparc``."""

SIDES = ("lh", "rh")

TOTALS = ("BrainSegVolNotVent", "CortexVol", "lhCortexVol", "rhCortexVol")
"""Measures of ``aseg.stats`` that stand in the header, too."""

NOTES = (
    "GrayVol is the volume of the parcel's voxels (volume_mm3 of the table of parcels), without surfaces.",
    "Parcels come from the registration of an atlas (seg-DesikanKilliany_desc-parcels_dseg.nii.gz).",
    "NumVert and SurfArea are n/a; ThickAvg, ThickStd, MeanCurv, GausCurv, FoldInd and CurvInd are missing.",
)

COLUMNS = {
    "StructName": ("Structure Name", "NA"),
    "NumVert": ("Number of Vertices", "unitless"),
    "SurfArea": ("Surface Area", "mm^2"),
    "GrayVol": ("Gray Matter Volume", "mm^3"),
}


def volumes(result: Result) -> dict[str, float]:
    """Return the volume (mm3) of every parcel of the cortex by its name; empty without parcels."""
    rows = derivatives.read_tsv(result.file(outputs.ending("parcel_morph", atlas=ATLAS)))
    read = {str(row.get("name")): number(row.get("volume_mm3")) for row in rows}
    return {name: volume for name, volume in read.items() if volume is not None}


def text(result: Result, parcels: Mapping[str, float], side: str) -> str:
    """Return the content of the file of one side.

    Parameters
    ----------
    result : Result
        A participant-session.
    parcels : mapping of str to float
        Volume (mm3) of every parcel by its name (``ctx-lh-insula``).
    side : str
        ``lh`` or ``rh``.
    """
    lines = ["# Table of FreeSurfer cortical parcellation anatomical statistics", "#", aseg.MAKER]
    lines += [f"# version {__version__}", "# anatomy_type volume", f"# subjectname {result.key}"]
    lines += [f"# hemi {side}", *(f"# {note}" for note in NOTES)]
    lines += ["# Sloppy: coarse, for trying only; not for analysis"] if result.sloppy else []
    lines += list(_totals(result))
    for place, (column, (words, unit)) in enumerate(COLUMNS.items(), 1):
        lines += [f"# TableCol {place} ColHeader {column}", f"# TableCol {place} FieldName {words}"]
        lines += [f"# TableCol {place} Units {unit}"]
    start = f"ctx-{side}-"
    rows = [
        f"{name.removeprefix(start):<40}{'n/a':>5}{'n/a':>7}{round(volume):>7d}"
        for name, volume in parcels.items()
        if name.startswith(start)
    ]
    lines += [f"# NTableCols {len(COLUMNS)}", f"# ColHeaders {' '.join(COLUMNS)}"]
    return "\n".join([*lines, *rows]) + "\n"


def _totals(result: Result) -> Iterable[str]:
    read = {index: number(row.get("volume_mm3")) for index, row in result.rows.items()}
    known = {index: volume for index, volume in read.items() if volume is not None}
    for name, key, words, value in aseg.measures(known, result.table):
        if key in TOTALS:
            yield f"# Measure {name}, {key}, {words}, {value:.6f}, mm^3"
