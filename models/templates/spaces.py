"""Output spaces: what a user may name, where its files lie, and how to get those that are missing.

A space is a TemplateFlow name with cohort and resolution (``MNIInfant:cohort-2:res-1``), or
``NAME=path.nii.gz``, or ``NAME=folder`` with files named as TemplateFlow names them. Folders are looked at
directly: importing TemplateFlow's client indexes thousands of files, and nothing is ever fetched behind the
user's back.
"""

from __future__ import annotations

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
"""Suffixes of templates' images, the most wanted first."""

NAME = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Space:
    """An output space.

    Attributes
    ----------
    name : str
        Template's name.
    cohort, resolution : str or None
        TemplateFlow's cohort and resolution, without leading zeros.
    path : Path or None
        The image of a template of the user's own, or the folder of one.

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
        """In the names of transforms."""
        return f"{self.name}+{self.cohort}" if self.cohort else self.name

    @property
    def entities(self) -> str:
        """In the names of images."""
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
    """Understand what a user wrote.

    Raises
    ------
    UsageError
        If it is no space.
    """
    named, equals, path = str(text).partition("=")
    name, *modifiers = named.split(":")
    if equals and not (NAME.fullmatch(name) and path):
        raise _wrong(text, "a template of one's own is NAME=PATH, NAME of letters and digits")
    if not NAME.fullmatch(name):
        raise _wrong(text, f"{name!r} is no name of a template (letters and digits only)")
    values: dict[str, str] = {}
    for modifier in modifiers:
        key, dash, value = modifier.partition("-")
        if key not in ("cohort", "res") or not dash or not value.isalnum() or key in values:
            raise _wrong(text, f"{modifier!r} is neither cohort-N nor res-N")
        values[key] = value.lstrip("0") or "0"
    if equals:
        own = Path(path).expanduser().absolute()
        return Space(name, values.get("cohort"), values.get("res"), own)
    if name == DEFAULT and values and values not in ({"res": "1"},):
        raise _wrong(text, f"{DEFAULT} has one cohort and 1 mm (res-1) only")
    resolution = None if name == DEFAULT else values.get("res")
    return Space(name, values.get("cohort"), resolution)


def _wrong(text: str, reason: str) -> UsageError:
    return UsageError(
        None,
        f"--output-spaces {text}: {reason}",
        f"Such as {DEFAULT}, MNIInfant:cohort-2:res-1 or NAME=T.nii.gz",
    )


@cache
def embedded() -> frozenset[str]:
    """Names of the templates that come with the program."""
    folder = FOLDER / "templates"
    return frozenset(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json"))


def home() -> Path:
    """Where TemplateFlow keeps its templates."""
    own = Path.home() / ".cache" / "templateflow"
    chosen = Path(os.environ.get("TEMPLATEFLOW_HOME") or own).expanduser()
    # The run's own empty folder, which keeps libraries from indexing thousands of templates.
    return own if (chosen / ".no-templates-needed").exists() else chosen


def find(space: Space) -> Files | None:
    """Files of a space, None for a template that comes with the program.

    Where cohorts go by gestational age and none is named, those of the youngest: :func:`by_age` has them all.

    Raises
    ------
    UsageError
        If there can be no such cohort or resolution, or none was named and age does not tell it.
    MissingFileError
        If they are not on this machine; it says how to get them.
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
        reason = f"--output-spaces {space}: no image of that cohort or resolution is in it (cohorts: {named})"
        raise MissingFileError(root, reason, "Check the folder after NAME=, and the cohort's label")
    folder = root / f"cohort-{space.cohort}" if space.cohort else root
    raise MissingFileError(
        folder, f"--output-spaces {space}: the template is not on this machine", f"Run: {fetch(space)}"
    )


def by_age(space: Space) -> dict[str, float]:
    """Gestational age (weeks) of those cohorts of a space that are on this machine, by their labels.

    Empty where a cohort is named, where the space has none, and where they do not go by gestational age.
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
    """Folder of a template and its name in the names of files, which may not be the user's."""
    if space.path is not None:
        return space.path, cohorts.identifier(space.path, space.name)
    return home() / f"tpl-{space.name}", space.name


def _own_file(space: Space, path: Path) -> Files:
    if not path.is_file():
        raise MissingFileError(path, f"the template {space.name} is not there", "Check the path after NAME=")
    if space.cohort or space.resolution:
        reason = f"--output-spaces {space}: a cohort or resolution is chosen in a folder, and this is a file"
        raise UsageError(None, reason, f"Write {space.name}={path}")
    return Files(path, _beside(path, "desc-brain_mask"), _beside(path, "desc-aseg_dseg"))


def _check_embedded(space: Space) -> None:
    """Refuse cohorts and resolutions that a template by age does not have."""
    if space.name == DEFAULT:
        return
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
        f"Name one of {', '.join(named)}, or none: then age tells it",
    )


def _files(root: Path, name: str, space: Space) -> Files | None:
    """Files of one cohort, or of a template without, wherever in its folder they lie."""
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
    """Files of the cohorts that go by gestational age, as far as they are on this machine."""
    root, name = _place(space)
    ages = cohorts.weeks(root, there)
    if not ages:
        reason = f"--output-spaces {space}: the template has cohorts and none was named"
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
    """The command that fetches a template of TemplateFlow.

    Examples
    --------
    >>> fetch(parse("MNIInfant:cohort-2"))
    'python -c "from templateflow import api; api.get(\\'MNIInfant\\', cohort=\\'2\\', resolution=[None, 1])"'
    """
    cohort = f", cohort='{space.cohort}'" if space.cohort else ""
    # Files of a template of one resolution do not name it.
    number = space.resolution or "[None, 1]"
    resolution = f"'{number}'" if number.isalnum() and not number.isdigit() else number
    get = f"api.get('{space.name}'{cohort}, resolution={resolution})"
    return f'python -c "from templateflow import api; {get}"'


def _pick(folder: Path, name: str, space: Space, descs: tuple[str, ...], suffix: str) -> Path | None:
    """The file of that suffix in the wanted resolution, or in the finest."""
    stem = f"tpl-{name}_cohort-{space.cohort}_" if space.cohort else f"tpl-{name}_"
    found = []
    for rank, desc in enumerate(descs):
        for path in folder.glob(f"{stem}*{suffix}.nii.gz"):
            middle = path.name.removeprefix(stem).removesuffix(f"{suffix}.nii.gz")
            matched = re.fullmatch(rf"(?:res-([A-Za-z0-9]+)_)?{desc}", middle)
            # TemplateFlow's skeleton holds empty files for what was not fetched.
            if not matched or not path.stat().st_size:
                continue
            resolution = (matched[1] or "").lstrip("0")
            if space.resolution in (None, resolution):
                found.append((rank, resolution or "1", path))
    return min(found)[-1] if found else None


def _beside(image: Path, suffix: str) -> Path | None:
    """A file beside the user's template: T.nii.gz has its brain in T_desc-brain_mask.nii.gz."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    stems = [stem, *(stem.removesuffix(f"_{c}") for c in CONTRASTS if stem.endswith(f"_{c}"))]
    for name in stems:
        path = image.with_name(f"{name}_{suffix}.nii.gz")
        if path.is_file():
            return path
    return None
