"""What a run would do (``--dry-run``)."""

from __future__ import annotations

from pathlib import Path

from ...models.data import FOLDER
from ...models.segmentation.lesion import CONTRASTS
from ...models.templates import spaces
from ...workflows.common.resources import memory
from ..config.settings import MODALITIES, REFERENCES, STEPS, Settings
from ..inputs.select import Selection, Unit
from ..status import records
from . import directories
from .scheduler.devices import devices

FLAVOR_WORDS = {"fmriprep": "fMRIPrep", "nibabies": "NiBabies", "both": "fMRIPrep and, once more, NiBabies"}

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
)
IN_SPACE = (
    "from-{suffix}_to-{to}_mode-image_xfm.h5, and the reverse",
    "{space}_{{desc-preproc_{suffix},desc-brain_mask,dseg,desc-aseg_dseg}}.nii.gz",
    "{space}_label-{{GM,WM,CSF}}_probseg.nii.gz",
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
            f"Device     {_device(chosen)}",
            f"Networks   {', '.join(_networks()) or 'none are installed'}",
            f"Templates  {', '.join(chosen.output_spaces)} ({chosen.registration})",
            f"Steps      {_steps(chosen)}",
            f"Reference  {chosen.subject_anatomical_reference}: "
            f"{REFERENCES[chosen.subject_anatomical_reference]}",
            f"Names      as {FLAVOR_WORDS[chosen.derivatives_flavor]} looks for them",
            *(f"Given      {text}" for text in chosen.derivatives),
            *(["Sloppy     fast and coarse; the results are marked"] if chosen.sloppy else []),
            f"Images     looked for: {', '.join(chosen.suffixes or MODALITIES)}",
            *(f"           {note}" for note in wanted.notes),
            *_memory(chosen, wanted),
            "",
            *_units(chosen, wanted),
            "",
            *_outputs(chosen, wanted),
        ]
    if "group" in chosen.analysis_level:
        lines += ["", "At the group level: group_volumes.tsv, group.html and index.html"]
    return "\n".join([*lines, "", "Nothing was computed or written (--dry-run)."])


def _device(chosen: Settings) -> str:
    """Where networks would run; one that is asked for and is not there is an error here too."""
    found = ", ".join(devices(chosen))
    return found if chosen.device == found else f"{found} ({chosen.device})"


def _units(chosen: Settings, wanted: Selection) -> list[str]:
    rows = []
    for unit in wanted.units:
        what = _what(chosen, unit)
        image = _short(unit.image, chosen.bids_dir) if unit.image else ""
        rows.append(f"  {unit.key}  {what}  {image}")
        lists = {
            "averaged": unit.averaged,
            "brought to it": unit.beside,
            "given": unit.given.files.values(),
            "left alone": unit.others,
        }
        for word, paths in lists.items():
            rows += [f"      {word}: {_short(path, chosen.bids_dir)}" for path in paths]
        rows += [f"      note: {note}" for note in unit.notes]
    return [f"{len(wanted.units)} to look at:", *rows]


def _what(chosen: Settings, unit: Unit) -> str:
    if unit.problem is not None:
        return f"would fail: {unit.problem}"
    before = records.read(chosen.output_dir, unit.key).get("state")
    if chosen.resume_failed and before != "failed":
        return "not failed in an earlier run, skipped"
    stands = records.finished(chosen.output_dir, unit, chosen.that_matter) if chosen.resume else "no"
    return {"yes": "already done, skipped", "report": "only the report is missing"}.get(
        stands,
        "would go on where it was"
        if before in ("failed", "running") and chosen.resume
        else "would be processed",
    )


def _steps(chosen: Settings) -> str:
    """Steps that are on, and those that are off."""
    on = [name for name in STEPS if chosen.step(name)]
    off = [name for name in STEPS if not chosen.step(name)]
    return ", ".join(on) + (f" (off: {', '.join(off)})" if off else "")


def _memory(chosen: Settings, wanted: Selection) -> list[str]:
    """What the largest step of the largest image needs, and how many steps run at once."""
    images = [unit.image for unit in wanted.units if unit.problem is None and unit.image]
    if not images:
        return []
    largest = max(images, key=lambda path: path.stat().st_size)
    need = memory(str(largest))
    step = max(need, key=lambda name: need[name])
    at_once = max(1, min(chosen.nprocs // chosen.omp_nthreads, int(chosen.mem_gb / need[step])))
    work = directories.WORK_GB * min(len(images), at_once)
    return [
        f"Memory     up to {need[step]:.1f} GB for one step ({step}, {largest.name}); {at_once} at once",
        f"Space      {directories.OUT_GB * len(images):.1f} GB for the results, "
        f"{work:.1f} GB in the work folder",
    ]


def _outputs(chosen: Settings, wanted: Selection) -> list[str]:
    unit = next((unit for unit in wanted.units if unit.problem is None), None)
    if unit is None or unit.image is None:
        return []
    stem = unit.image.name.split(".")[0].removesuffix(f"_{unit.suffix}")
    session = f"ses-{unit.session}/" if unit.session is not None else ""
    folder = f"sub-{unit.participant}/{session}anat/"
    native = [name.format(suffix=unit.suffix) for name in NATIVE]
    if chosen.step("hippocampus"):
        native.append("desc-hippocampus_{dseg.nii.gz,volumes.tsv}")
    suffixes = [path.name.split(".")[0].rpartition("_")[2] for path in (unit.image, *unit.beside)]
    if chosen.step("lesion") and set(suffixes) & set(CONTRASTS):
        native += ["label-lesion_{mask,probseg}.nii.gz", "desc-lesion_volumes.tsv"]
    if not chosen.step("posteriors"):
        native = [name for name in native if "probseg" not in name]
    names = []
    for name in native:
        plain = "desc-preproc" in name or "tissue" in name or "volumes" in name or "lesion" in name
        names += [name] if plain or chosen.derivatives_flavor != "nibabies" else []
        names += (
            [f"space-{unit.suffix}_{name}"] if not plain and chosen.derivatives_flavor != "fmriprep" else []
        )
    in_space = IN_SPACE if chosen.step("template-outputs") else IN_SPACE[:1]
    for text in chosen.output_spaces:
        space = spaces.parse(text)
        names += [name.format(suffix=unit.suffix, to=space.label, space=space.entities) for name in in_space]
    space = directories.OUT_GB * len(wanted.units)
    return [
        f"Written for each (about {space:.1f} GB in all), such as",
        *(f"  {folder}{stem}_{name}" for name in names),
        f"  {unit.key}.html",
    ]


def _networks() -> list[str]:
    folder = FOLDER / "weights"
    return [
        f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB)" for path in sorted(folder.glob("*.safetensors"))
    ]


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root in path.parents else str(path)
