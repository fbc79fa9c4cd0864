"""Output spaces: parsing of ``--output-spaces``, search for the files, commands to fetch missing ones.

A space is a TemplateFlow name with cohort and resolution (``MNIInfant:cohort-2:res-1``), or
``NAME=path.nii.gz``, or ``NAME=folder`` with TemplateFlow's file names. Folders are read directly, because
TemplateFlow's client indexes thousands of files when imported. Files are never fetched automatically:
``brainseg templates get`` does that.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ..data import FOLDER
from ..errors import MissingFileError, UsageError
from . import catalog, cohorts
from .catalog import DEFAULT

CONTRASTS = ("T1w", "T2w")
"""Suffixes of templates' images, in order of preference."""

NAME = re.compile(r"[A-Za-z0-9]+")

RESOLUTIONS = ("1", "2")
"""Resolutions of the bundled default template: voxel sizes (mm) of TemplateFlow's grids."""


@dataclass(frozen=True)
class Space:
    """An output space.

    Attributes
    ----------
    name : str
        Name of the template.
    cohort, resolution : str or None
        TemplateFlow's cohort and resolution, without leading zeros.
    path : Path or None
        Image or folder of a user's template.

    Examples
    --------
    >>> space = parse("MNIInfant:cohort-2:res-1")
    >>> space.label, space.entities, str(space)
    ('MNIInfant+2', 'space-MNIInfant_cohort-2_res-1', 'MNIInfant:cohort-2:res-1')
    """

    name: str
    cohort: str | None = None
    resolution: str | None = None
    path: Path | None = None

    def __str__(self) -> str:
        parts = [self.name]
        parts += [f"cohort-{self.cohort}"] if self.cohort else []
        parts += [f"res-{self.resolution}"] if self.resolution else []
        return ":".join(parts) + (f"={self.path}" if self.path is not None else "")

    @property
    def label(self) -> str:
        """Name in transforms."""
        return f"{self.name}+{self.cohort}" if self.cohort else self.name

    @property
    def entities(self) -> str:
        """Entities in the names of images."""
        parts = [f"space-{self.name}"]
        parts += [f"cohort-{self.cohort}"] if self.cohort else []
        parts += [f"res-{self.resolution}"] if self.resolution else []
        return "_".join(parts)


@dataclass(frozen=True)
class Files:
    """Files of a template; ``mask`` and ``labels`` (FreeSurfer ids) may be missing."""

    image: Path
    mask: Path | None
    labels: Path | None


def parse(text: str) -> Space:
    """Parse an argument of ``--output-spaces`` that stands for one space.

    Raises
    ------
    UsageError
        If it is invalid, or stands for several spaces (:func:`expand`).
    """
    found = expand(text)
    if len(found) > 1:
        raise _wrong(text, "it stands for several spaces, where one is meant")
    return found[0]


def expand(text: str) -> list[Space]:
    """Parse an argument of ``--output-spaces``: one space for each cohort and resolution, as in niworkflows.

    ``res-native`` is the resolution of the template's own image.

    Raises
    ------
    UsageError
        If it is invalid.

    Examples
    --------
    >>> [str(space) for space in expand("MNIInfant:cohort-1:cohort-02:res-1")]
    ['MNIInfant:cohort-1:res-1', 'MNIInfant:cohort-2:res-1']
    """
    named, equals, path = str(text).partition("=")
    name, *modifiers = named.rstrip(":").split(":")
    if equals and not (NAME.fullmatch(name) and path):
        raise _wrong(text, "a user's template is NAME=PATH, with letters and digits in NAME")
    if not NAME.fullmatch(name):
        raise _wrong(text, f"invalid template name {name!r} (use letters and digits only)")
    values: dict[str, list[str | None]] = {"cohort": [], "res": []}
    for modifier in modifiers:
        key, _, value = modifier.partition("-")
        if key not in values or not value.isalnum():
            raise _wrong(text, f"{modifier!r} is neither cohort-N nor res-N")
        native = key == "res" and value == "native"
        values[key].append(None if native else value.lstrip("0") or "0")
    own = Path(path).expanduser().absolute() if equals else None
    cohorts, resolutions = values["cohort"] or [None], values["res"] or [None]
    return [
        _of_adults(text, Space(name, cohort, resolution, own))
        for cohort in dict.fromkeys(cohorts)
        for resolution in dict.fromkeys(resolutions)
    ]


def _of_adults(text: str, space: Space) -> Space:
    """Return a space without the resolution that a bundled template of adults has anyway; refuse others."""
    if space.path is not None or space.name not in catalog.ADULT:
        return space
    known = RESOLUTIONS if space.name == DEFAULT else RESOLUTIONS[:1]
    if space.cohort or space.resolution not in (None, *known):
        sizes = " and ".join(f"{size} mm (res-{size})" for size in known)
        raise _wrong(text, f"{space.name} has one cohort and {sizes} only")
    return replace(space, resolution=None) if space.resolution == RESOLUTIONS[0] else space


def _wrong(text: str, reason: str) -> UsageError:
    return UsageError(
        None,
        f"--output-spaces {text}: {reason}",
        f"Examples: {DEFAULT}, MNIInfant:cohort-2:res-1 or NAME=T.nii.gz",
    )


@cache
def embedded() -> frozenset[str]:
    """Return the names of the bundled templates."""
    folder = FOLDER / "templates"
    return frozenset(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json"))


def home() -> Path:
    """Return the folder of TemplateFlow's templates."""
    own = Path.home() / ".cache" / "templateflow"
    chosen = Path(os.environ.get("TEMPLATEFLOW_HOME") or own).expanduser()
    # A run sets an empty folder so that libraries do not index thousands of templates.
    return own if (chosen / ".no-templates-needed").exists() else chosen


def find(space: Space) -> Files | None:
    """Return the files of a space; None for a bundled template.

    If cohorts have gestational ages and none is named, these are the files of the youngest (:func:`by_age`
    returns all).

    Raises
    ------
    UsageError
        If the cohort or resolution is invalid, or missing and not implied by age.
    MissingFileError
        If the files are not on this machine; the remedy is the command to fetch them.
    """
    if space.path is not None and not space.path.is_dir():
        return _own_file(space, space.path)
    if space.path is None and space.name in embedded():
        _check_embedded(space)
        return None
    root, name = _place(space)
    there = cohorts.labels(root, name) if root.is_dir() else []
    if there and space.cohort is None:
        return next(iter(_by_age(space, there).values()))
    found = _files(root, name, space)
    if found:
        return found
    if space.path is not None:
        named = ", ".join(there) or "none"
        reason = f"--output-spaces {space}: it has no image of that cohort or resolution (cohorts: {named})"
        raise MissingFileError(root, reason, "Check the folder after NAME=, and the cohort's label")
    folder = root / f"cohort-{space.cohort}" if space.cohort else root
    bundled = ", ".join([*catalog.ADULT, *catalog.names()])
    reason = f"--output-spaces {space}: the template is not on this machine (bundled are {bundled})"
    others = catalog.of_templateflow()
    if others and space.name not in others and not root.is_dir():
        near = difflib.get_close_matches(space.name, [*catalog.ADULT, *catalog.names(), *others], cutoff=0.4)
        reason = f"{reason}, and TemplateFlow has none of that name"
        nearest = f"Nearest are {', '.join(dict.fromkeys(near))}" if near else "See brainseg templates list"
        raise MissingFileError(folder, reason, nearest)
    raise MissingFileError(folder, reason, f"Run: {fetch(space)}")


def by_age(space: Space) -> dict[str, float]:
    """Return the gestational ages (weeks) of a space's cohorts on this machine, by label.

    The result is empty if a cohort is named, or if the cohorts have no gestational ages.
    """
    if space.cohort is not None or (space.path is None and space.name in embedded()):
        return {}
    if space.path is not None and not space.path.is_dir():
        return {}
    root, name = _place(space)
    there = cohorts.labels(root, name) if root.is_dir() else []
    ages = cohorts.weeks(root, there)
    return {label: ages[label] for label in _by_age(space, there)} if ages else {}


def _place(space: Space) -> tuple[Path, str]:
    """Return the folder of a template and the name in its files, which may differ from the user's."""
    if space.path is not None:
        return space.path, cohorts.identifier(space.path, space.name)
    return home() / f"tpl-{space.name}", space.name


def _own_file(space: Space, path: Path) -> Files:
    if not path.is_file():
        raise MissingFileError(
            path, f"missing image of the template {space.name}", "Check the path after NAME="
        )
    if space.cohort or space.resolution:
        reason = f"--output-spaces {space}: cohort and resolution need a folder, but this is a file"
        raise UsageError(None, reason, f"Write {space.name}={path}")
    return Files(path, _companion(path, "desc-brain_mask"), _companion(path, "desc-aseg_dseg"))


def _check_embedded(space: Space) -> None:
    """Reject unknown cohorts and resolutions of a bundled template by age."""
    if space.name not in catalog.names():
        return
    if space.resolution not in (None, "1"):
        reason = f"--output-spaces {space}: {space.name} has 1 mm (res-1) only"
        raise UsageError(None, reason, f"Write {replace(space, resolution=None)}")
    if space.cohort is None:
        return
    meant = catalog.parse_cohort(space.name, space.cohort)
    ranges = {stem: catalog.card(stem)["weeks"] for stem in catalog.families(space.name).values()}
    if meant and ranges[meant[0]][0] <= meant[1] <= ranges[meant[0]][-1]:
        return
    named = (
        f"{ranges[stem][0]:g}{family} to {ranges[stem][-1]:g}{family}"
        for family, stem in sorted(catalog.families(space.name).items())
    )
    raise UsageError(
        None,
        f"--output-spaces {space}: {space.name} has no cohort {space.cohort}",
        f"Use one of {', '.join(named)}, or none to choose it by age",
    )


def _files(root: Path, name: str, space: Space) -> Files | None:
    """Return the files of one cohort, or of a template without cohorts, anywhere in its folder."""
    label = space.cohort
    folders = [root / f"cohort-{label}", root / f"tpl-{name}_cohort-{label}"] if label else []
    for folder in (*folders, root):
        for suffix in CONTRASTS:
            image = _pick(folder, name, space, ("", "desc-brain_"), suffix)
            if image:
                stored = re.search(r"_res-([A-Za-z0-9]+)_", image.name)
                space = replace(space, resolution=stored[1].lstrip("0") if stored else "")
                mask = _pick(folder, name, space, ("desc-brain_",), "mask")
                return Files(image, mask, _pick(folder, name, space, ("desc-aseg_",), "dseg"))
    return None


def _by_age(space: Space, there: list[str]) -> dict[str, Files]:
    """Return the files of the cohorts with gestational ages on this machine, by label."""
    root, name = _place(space)
    ages = cohorts.weeks(root, there)
    if not ages:
        reason = f"--output-spaces {space}: the template has cohorts, but none was named"
        raise UsageError(None, reason, f"Add one of them: {', '.join(f'cohort-{c}' for c in there)}")
    found = {
        label: _files(root, name, replace(space, cohort=label))
        for label in sorted(ages, key=lambda label: ages[label])
    }
    here = {label: files for label, files in found.items() if files}
    if here:
        return here
    remedy = f"Run: {fetch(replace(space, cohort=next(iter(found))))}"
    raise MissingFileError(
        root,
        f"--output-spaces {space}: none of the template's cohorts is on this machine",
        remedy if space.path is None else "Check the folder after NAME=",
    )


def fetch(space: Space) -> str:
    """Return the command to fetch a template from TemplateFlow.

    Examples
    --------
    >>> fetch(parse("MNIInfant:cohort-2"))
    'brainseg templates get MNIInfant:cohort-2'
    """
    return f"brainseg templates get {space}"


def _pick(folder: Path, name: str, space: Space, descs: tuple[str, ...], suffix: str) -> Path | None:
    """Return the file of a suffix in the space's resolution, or else in the finest."""
    stem = f"tpl-{name}_cohort-{space.cohort}_" if space.cohort else f"tpl-{name}_"
    found = []
    for rank, desc in enumerate(descs):
        for path in folder.glob(f"{stem}*{suffix}.nii.gz"):
            middle = path.name.removeprefix(stem).removesuffix(f"{suffix}.nii.gz")
            matched = re.fullmatch(rf"(?:res-([A-Za-z0-9]+)_)?{desc}", middle)
            # TemplateFlow's skeleton has empty files in place of those not fetched.
            if not matched or not path.stat().st_size:
                continue
            resolution = (matched[1] or "").lstrip("0")
            if space.resolution in (None, resolution):
                found.append((rank, resolution or "1", path))
    return min(found)[-1] if found else None


def _companion(image: Path, suffix: str) -> Path | None:
    """Return a companion file of a user's template, such as T_desc-brain_mask.nii.gz of T.nii.gz."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    stems = [stem, *(stem.removesuffix(f"_{c}") for c in CONTRASTS if stem.endswith(f"_{c}"))]
    for name in stems:
        path = image.with_name(f"{name}_{suffix}.nii.gz")
        if path.is_file():
            return path
    return None
