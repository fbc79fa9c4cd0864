"""What a run would do (``--dry-run``)."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from . import places, status
from .dataset import Selection, Unit
from .settings import MODALITIES, Settings

STATES = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "running": "not finished",
    "waiting": "not begun",
}
"""States of a unit in the words of the last line."""

NATIVE = (
    "desc-preproc_{suffix}.nii.gz",
    "desc-brain_mask.nii.gz",
    "dseg.nii.gz",
    "label-{{GM,WM,CSF}}_probseg.nii.gz",
    "desc-aseg_dseg.nii.gz",
    "desc-tissue_dseg.nii.gz",
    "desc-aseg_volumes.tsv",
    "from-{suffix}_to-{space}_mode-image_xfm.h5, and the reverse",
    "space-{space}_{{desc-preproc_{suffix},desc-brain_mask,dseg}}.nii.gz",
)


def describe(chosen: Settings, wanted: Selection) -> str:
    """The plan as text."""
    lines = [
        f"Dataset    {chosen.bids_dir}",
        f"Output     {chosen.output_dir}",
        f"Levels     {', '.join(chosen.analysis_level)}",
    ]
    if "participant" in chosen.analysis_level:
        lines += [
            f"Work       {chosen.work_dir}",
            f"Resources  {chosen.nprocs} CPUs ({chosen.omp_nthreads} for one step), {chosen.mem_gb:.1f} GB",
            f"Device     {chosen.device}",
            f"Networks   {', '.join(_networks()) or 'none are installed'}",
            f"Templates  {', '.join(chosen.output_spaces)} (comes with the program)",
            f"Images     looked for: {', '.join(chosen.suffixes or MODALITIES)}",
            *(f"           {note}" for note in wanted.notes),
            "",
            *_units(chosen, wanted),
            "",
            *_outputs(chosen, wanted),
        ]
    if "group" in chosen.analysis_level:
        lines += ["", "At the group level: group_volumes.tsv, group.html and index.html"]
    return "\n".join([*lines, "", "Nothing was computed or written (--dry-run)."])


def _units(chosen: Settings, wanted: Selection) -> list[str]:
    rows = []
    for unit in wanted.units:
        what = _what(chosen, unit)
        image = _short(unit.image, chosen.bids_dir) if unit.image else ""
        rows.append(f"  {unit.key}  {what}  {image}")
        rows += [f"      left alone: {_short(path, chosen.bids_dir)}" for path in unit.others]
    return [f"{len(wanted.units)} to look at:", *rows]


def _what(chosen: Settings, unit: Unit) -> str:
    if unit.problem is not None:
        return f"would fail: {unit.problem}"
    stands = status.finished(chosen.output_dir, unit, chosen.that_matter) if chosen.resume else "no"
    return {"yes": "already done, skipped", "report": "only the report is missing"}.get(
        stands, "would be processed"
    )


def _outputs(chosen: Settings, wanted: Selection) -> list[str]:
    unit = next((unit for unit in wanted.units if unit.problem is None), None)
    if unit is None or unit.image is None:
        return []
    stem = unit.image.name.split(".")[0].removesuffix(f"_{unit.suffix}")
    session = f"ses-{unit.session}/" if unit.session is not None else ""
    folder = f"sub-{unit.participant}/{session}anat/"
    names = [name.format(suffix=unit.suffix, space=chosen.output_spaces[0]) for name in NATIVE]
    space = places.OUT_GB * len(wanted.units)
    return [
        f"Written for each (about {space:.1f} GB in all), such as",
        *(f"  {folder}{stem}_{name}" for name in names),
        f"  {unit.key}.html",
    ]


def _networks() -> list[str]:
    folder = Path(str(files("brainseg.models") / "weights"))
    return [
        f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB)" for path in sorted(folder.glob("*.safetensors"))
    ]


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root in path.parents else str(path)
