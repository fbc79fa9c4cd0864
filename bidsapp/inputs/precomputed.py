"""Precomputed inputs (``--derivatives``): results that replace the stage that would compute them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ...models.errors import InputError
from ...models.population.labels import DSEG_NAMES
from . import names, sidecars

CORRECTED = "desc-corrected_mask.nii.gz"
"""Ending of a brain mask that was corrected by hand."""

CONTRAST = re.compile(r"orig.*|fsnative|T1w|T2w|FLAIR|PDw|T2starw")
"""Ends of transforms that are contrasts, not templates."""

CHOICE = ("acq", "ce", "rec", "run")
"""Entities that distinguish the results of several images."""


@dataclass(frozen=True)
class Precomputed:
    """Precomputed inputs of a participant-session.

    Attributes
    ----------
    files : dict of str to Path
        Files by role: ``mask``, ``structures``, ``dseg`` with ``GM``, ``WM`` and ``CSF``, and for a template
        ``NAME`` (``NAME+COHORT``) ``forward:NAME`` with ``inverse:NAME``.
    uris : dict of str to str
        BIDS URIs of the files by role.
    notes : list of str
        Files that are not used, and the reasons.
    """

    files: dict[str, Path] = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find(folders: dict[str, Path], key: str, image: Path, spaces: tuple[str, ...] = ()) -> Precomputed:
    """Return the precomputed inputs of a participant-session; the last dataset with a role provides it.

    Parameters
    ----------
    folders : dict of str to Path
        Datasets of derivatives by name.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    image : Path
        The reference image.
    spaces : tuple of str
        Labels of the output spaces; transforms to other spaces are ignored.

    Raises
    ------
    InputError
        If several files of one dataset have the same role.
    """
    suffix = image.name.split(".")[0].rpartition("_")[2]
    out = Precomputed()
    for name, root in folders.items():
        candidates = defaultdict(list)
        for path in sorted(root.joinpath(*key.split("_"), "anat").iterdir() if _has(root, key) else ()):
            role = role_of(path.name, suffix)
            if role and (said := names.contradiction(path.relative_to(root))):
                out.notes.append(f"The precomputed {path.name} is not used: {said[0]}.")
            elif role:
                candidates[role].append(path)
        for role, paths in candidates.items():
            path = _one(paths, image, role)
            out.files[role] = path
            out.uris[role] = f"bids:{name}:{path.relative_to(root).as_posix()}"
    for role in [role for role in out.files if ":" in role and role.partition(":")[2] not in spaces]:
        del out.files[role], out.uris[role]
    _drop_incomplete(out)
    if coarse := sorted({path.name for path in out.files.values() if _is_sloppy(path)}):
        out.notes.append(f"Computed with --sloppy, for trying only: the precomputed {', '.join(coarse)}.")
    return out


def _is_sloppy(path: Path) -> bool:
    """Return whether a file is marked as coarse, for trying only (``--sloppy``)."""
    sidecar = path.with_name(re.sub(r"(\.nii(\.gz)?|\.[a-z0-9]+)$", ".json", path.name))
    try:
        return sidecars.read_object(sidecar).get("Sloppy") is True
    except InputError:
        return False


def with_correction(found: Precomputed, out_dir: Path, key: str, image: Path) -> Precomputed:
    """Return the precomputed inputs with the brain mask corrected by hand in the output folder, if any.

    Parameters
    ----------
    found : Precomputed
        Precomputed inputs.
    out_dir : Path
        The output folder.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    image : Path
        The reference image.
    """
    stem = image.name.split(".")[0].rpartition("_")[0]
    path = out_dir.joinpath(*key.split("_"), "anat", f"{stem}_{CORRECTED}")
    if not path.is_file():
        return found
    uri = f"bids::{path.relative_to(out_dir).as_posix()}"
    note = f"The brain mask was corrected by hand: {path.name}."
    return Precomputed(found.files | {"mask": path}, found.uris | {"mask": uri}, [*found.notes, note])


def role_of(name: str, suffix: str = "T1w") -> str:
    """Return the role of a file of derivatives by its name; empty if it has none.

    Examples
    --------
    >>> role_of("sub-1_run-2_desc-brain_mask.nii.gz"), role_of("sub-1_space-T1w_desc-aseg_dseg.nii.gz")
    ('mask', 'structures')
    >>> role_of("sub-1_dseg.nii.gz"), role_of("sub-1_label-GM_probseg.nii.gz")
    ('dseg', 'GM')
    >>> role_of("sub-1_from-T1w_to-MNIInfant+2_mode-image_xfm.h5"), role_of("sub-1_dseg.json")
    ('forward:MNIInfant+2', '')
    >>> role_of("sub-1_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    ''
    >>> role_of("sub-1_desc-aparcaseg_dseg.nii.gz")
    ''
    """
    if name.endswith("_mode-image_xfm.h5"):
        ends = re.search(r"_from-([0-9A-Za-z+]+)_to-([0-9A-Za-z+]+)_mode", name)
        if (
            ends is None
            or suffix not in ends.groups()
            or any(CONTRAST.fullmatch(e) for e in ends.groups() if e != suffix)
        ):
            return ""
        return f"forward:{ends[2]}" if ends[1] == suffix else f"inverse:{ends[1]}"
    if not name.endswith((".nii", ".nii.gz")):
        return ""
    *parts, kind = name.split(".")[0].split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    if entities.get("space", suffix) not in (suffix, "orig") or {"atlas", "seg", "hemi"} & set(entities):
        return ""
    desc, label = entities.get("desc"), entities.get("label")
    if kind == "mask" and ((desc == "brain" and label is None) or (label == "brain" and desc is None)):
        return "mask"
    if kind == "dseg" and label is None and desc in ("aseg", None):
        return "structures" if desc else "dseg"
    if kind == "probseg" and desc is None and label in DSEG_NAMES:
        return str(label)
    return ""


def _one(paths: list[Path], image: Path, role: str) -> Path:
    """Return the file with the acquisition and run of the image."""
    own = _entities(image.name)
    alike = [path for path in paths if _entities(path.name) == own] or paths
    # Some datasets have the same file with and without space-T1w, for two programs.
    plain = [path for path in alike if "_space-" not in path.name] or alike
    if len(plain) > 1:
        names = ", ".join(path.name for path in plain)
        raise InputError(
            plain[0].parent,
            f"--derivatives: {len(plain)} files could be the {role} of {image.name} ({names})",
            "Keep one of them",
        )
    return plain[0]


def _entities(name: str) -> dict[str, str]:
    return dict(re.findall(rf"_({'|'.join(CHOICE)})-([0-9A-Za-z+]+)", name))


def _has(root: Path, key: str) -> bool:
    return root.joinpath(*key.split("_"), "anat").is_dir()


def _drop_incomplete(found: Precomputed) -> None:
    """Remove tissues without labels or any of the probabilities, and transforms in one direction only."""
    for role in [role for role in found.files if ":" in role]:
        way, _, space = role.partition(":")
        other = f"{'inverse' if way == 'forward' else 'forward'}:{space}"
        if other not in found.files:
            found.notes.append(
                f"The precomputed transform {found.files[role].name} is not used: its inverse is missing."
            )
            del found.files[role], found.uris[role]
    there = [role for role in ("dseg", *DSEG_NAMES) if role in found.files]
    if there and len(there) < 4:
        lacking = [role for role in ("dseg", *DSEG_NAMES) if role not in found.files]
        found.notes.append(f"Precomputed {', '.join(there)} not used: {', '.join(lacking)} missing.")
        for role in there:
            del found.files[role], found.uris[role]


def maps(paths: dict[str, str], root: Path, key: str) -> tuple[dict[str, Path], list[str]]:
    """Return the images to measure in the parcels of a participant-session, and notes on missing ones.

    Parameters
    ----------
    paths : dict of str to str
        Paths by name of the map, with fields for the participant; relative ones are in the dataset.
    root : Path
        The dataset.
    key : str
        ``sub-01`` or ``sub-01_ses-02``.

    Raises
    ------
    InputError
        If several files match.
    """
    out, notes = {}, []
    participant, _, session = key.removeprefix("sub-").partition("_ses-")
    fields = {
        "key": key,
        "folder": key.replace("_ses-", "/ses-"),
        "participant": participant,
        "session": session,
    }
    for name, text in paths.items():
        pattern = root / Path(text.format(**fields)).expanduser()
        start, below = Path(pattern.anchor), str(pattern.relative_to(pattern.anchor))
        of_others = re.search(r"(?:^|/)sub-([0-9A-Za-z+]+)", below)
        found = sorted(path for path in start.glob(below) if path.is_file())
        if of_others and of_others[1] != participant and "{" not in text:
            found = []
        if len(found) > 1:
            reason = f"{len(found)} files could be the map {name}: {found[0].name}, {found[1].name}"
            raise InputError(pattern, reason, "Name one of them in --maps")
        if found:
            out[name] = found[0]
        else:
            notes.append(f"The map {name} was not measured: there is no {pattern.name} of this participant.")
    return out, notes
