"""The text of FreeSurfer's ``aseg.stats``: measures in the header, and a row for every structure.

The conventions are those that ``asegstats2table`` and other readers rely on: a measure is ``# Measure NAME,
KEY, words, value, unit``, and a row has index, label, number of voxels, volume and name, divided by spaces.
Source: https://surfer.nmr.mgh.harvard.edu/fswiki/MorphometryStats
"""

from __future__ import annotations

from ....models.population import labels
from ....models.population.labels import LabelTable
from ... import __version__
from ...reports.derivatives import VOLUMES, Result, number

MAKER = "# generating_program brainseg-bids"
"""Line by which a file of this program is known."""

COLUMNS = ("Index", "SegId", "NVoxels", "Volume_mm3", "StructName")

CEREBRUM = ("cortex_gm", "cerebral_wm")
"""Totals that FreeSurfer has as measures of both hemispheres, and not as rows."""

VENTRICLES = ("lateral_ventricles", "midline_ventricles")

MEASURED = "eTIV is measured in the image (label-intracranial_mask), not estimated from a registration."
UNMEASURED = "There is no intracranial volume (eTIV): {reason}."

OUTSIDE = ("brainstem", "outer_csf", "background")
"""What does not count as BrainSeg."""

NOTES = (
    "Volumes are sums of probabilities (volume_mm3 of the table of volumes), without surfaces.",
    "BrainSeg is the sum of all structures without brainstem and without CSF outside the ventricles.",
    "TotalGray is total_gm: before birth it has the whole cerebellum, which is one label there.",
    "There is no measure of intensity.",
)


def text(result: Result, voxel_mm3: float) -> str:
    """Return the content of ``aseg.stats``.

    Parameters
    ----------
    result : Result
        A participant-session with volumes.
    voxel_mm3 : float
        Volume of a voxel of its labels (mm3).
    """
    lines = ["# Title Segmentation Statistics", "#", MAKER]
    lines += [f"# version {__version__}", "# anatomy_type volume", f"# subjectname {result.key}"]
    lines += [f"# {note}" for note in (*NOTES, _about_intracranial(result))]
    lines += ["# Sloppy: coarse, for trying only; not for analysis"] if result.sloppy else []
    read = {index: number(row.get("volume_mm3")) for index, row in result.rows.items()}
    known = {index: volume for index, volume in read.items() if volume is not None}
    for name, key, words, value in measures(known, result.table):
        lines.append(f"# Measure {name}, {key}, {words}, {value:.6f}, mm^3")
    if (mask := result.volumes.get("brain")) is not None:
        lines.append(f"# Measure Mask, MaskVol, Mask Volume, {mask:.6f}, mm^3")
    if (inside := result.volumes.get("intracranial")) is not None:
        words = "Estimated Total Intracranial Volume"
        lines.append(f"# Measure EstimatedTotalIntraCranialVol, eTIV, {words}, {inside:.6f}, mm^3")
    rows = _rows(result, known, voxel_mm3)
    lines += [f"# NRows {len(rows)}", f"# NTableCols {len(COLUMNS)}", f"# ColHeaders  {' '.join(COLUMNS)}"]
    return "\n".join([*lines, *rows]) + "\n"


def _about_intracranial(result: Result) -> str:
    """Return how the intracranial volume was found, or why there is none."""
    if "intracranial" in result.volumes:
        return MEASURED
    found = result.sidecar(VOLUMES).get("IntracranialVolume")
    reason = found.get("Reason") if isinstance(found, dict) else ""
    return UNMEASURED.format(reason=reason or "the version that made the results did not measure it")


def measures(volumes: dict[int, float], table: LabelTable) -> list[tuple[str, str, str, float]]:
    """Return name, key, words and volume (mm3) of FreeSurfer's measures that the structures have.

    Parameters
    ----------
    volumes : dict of int to float
        Volumes (mm3) by index.
    table : LabelTable
        The structures.
    """
    known = [label for label in table if label.index in volumes and label.index]
    out: list[tuple[str, str, str, float]] = []

    def add(name: str, key: str, words: str, indices: list[int]) -> None:
        if indices:
            out.append((name, key, words, sum(volumes[index] for index in indices)))

    inside = [label for label in known if label.total not in OUTSIDE]
    words = "Brain Segmentation Volume"
    add("BrainSeg", "BrainSegVol", words, [x.index for x in inside])
    left = [x.index for x in inside if x.total not in VENTRICLES]
    add("BrainSegNotVent", "BrainSegVolNotVent", f"{words} Without Ventricles", left)
    for total, name, words in (
        ("cortex_gm", "Cortex", "cortical gray matter volume"),
        ("cerebral_wm", "CerebralWhiteMatter", "cerebral white matter volume"),
    ):
        for side, start in (("Left", "lh"), ("Right", "rh")):
            part = [x.index for x in known if x.total == total and x.name.startswith(f"{side}-")]
            add(f"{start}{name}", f"{start}{name}Vol", f"{side} hemisphere {words}", part)
        whole = [x.index for x in known if x.total == total]
        add(name, f"{name}Vol", f"Total {words}", whole)
    part = [x.index for x in known if x.total == "subcortical_gm"]
    add("SubCortGray", "SubCortGrayVol", "Subcortical gray matter volume", part)
    part = [x.index for x in known if x.total in labels.totals()["total_gm"].parts]
    add("TotalGray", "TotalGrayVol", "Total gray matter volume", part)
    return out


def _rows(result: Result, known: dict[int, float], voxel_mm3: float) -> list[str]:
    """Return the rows of the structures, without cortex and white matter, which are measures."""
    out: list[str] = []
    for index, volume in sorted(known.items()):
        label = result.table.by_index.get(index)
        if index == 0 or (label and label.total in CEREBRUM and label.partner != label.index):
            continue
        name = label.name if label else result.rows[index].get("name") or str(index)
        labeled = number(result.rows[index].get("label_volume_mm3")) or 0.0
        word, count = "-".join(name.split()), round(labeled / voxel_mm3)
        out.append(f"{len(out) + 1:3d} {index:5d} {count:9d} {volume:12.3f}  {word}")
    return out
