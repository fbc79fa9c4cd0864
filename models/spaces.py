"""Output spaces: what a user may name, where its files lie, and how to get those that are missing.

A space is a TemplateFlow name with cohort and resolution (``MNIInfant:cohort-2:res-1``), or
``NAME=path.nii.gz``. Folders are looked at directly: importing TemplateFlow's client indexes thousands of
files, and nothing is ever fetched behind the user's back.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from .errors import MissingFileError, UsageError

DEFAULT = "MNI152NLin2009aSym"
"""The template that comes with the program."""

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
        The image of a template of the user's own.

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
        if self.path is not None:
            return f"{self.name}={self.path}"
        parts = [self.name]
        parts += [f"cohort-{self.cohort}"] if self.cohort else []
        parts += [f"res-{self.resolution}"] if self.resolution else []
        return ":".join(parts)

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
    name, equals, path = str(text).partition("=")
    if equals:
        if not NAME.fullmatch(name) or not path:
            raise _wrong(text, "a template of one's own is NAME=PATH, NAME of letters and digits")
        return Space(name, path=Path(path).expanduser().absolute())
    name, *modifiers = str(text).split(":")
    if not NAME.fullmatch(name):
        raise _wrong(text, f"{name!r} is no name of a template (letters and digits only)")
    values: dict[str, str] = {}
    for modifier in modifiers:
        key, dash, value = modifier.partition("-")
        if key not in ("cohort", "res") or not dash or not value.isalnum() or key in values:
            raise _wrong(text, f"{modifier!r} is neither cohort-N nor res-N")
        values[key] = value.lstrip("0") or "0"
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
    folder = files(__package__) / "templates"
    return frozenset(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json"))


def home() -> Path:
    """Where TemplateFlow keeps its templates."""
    own = Path.home() / ".cache" / "templateflow"
    chosen = Path(os.environ.get("TEMPLATEFLOW_HOME") or own).expanduser()
    # The run's own empty folder, which keeps libraries from indexing thousands of templates.
    return own if (chosen / ".no-templates-needed").exists() else chosen


def find(space: Space) -> Files | None:
    """Files of a space, None for the template that comes with the program.

    Raises
    ------
    MissingFileError
        If they are not on this machine; it says how to get them.
    """
    if space.path is not None:
        if not space.path.is_file():
            raise MissingFileError(
                space.path, f"the template {space.name} is not there", "Check the path after NAME="
            )
        return Files(
            space.path, _beside(space.path, "desc-brain_mask"), _beside(space.path, "desc-aseg_dseg")
        )
    if space.name in embedded():
        return None
    root = home() / f"tpl-{space.name}"
    folder = root / f"cohort-{space.cohort}" if space.cohort else root
    _check_cohort(space, root)
    for suffix in CONTRASTS:
        image = _pick(folder, space, ("", "desc-brain_"), suffix)
        if image:
            stored = re.search(r"_res-([A-Za-z0-9]+)_", image.name)
            space = replace(space, resolution=stored[1].lstrip("0") if stored else "")
            mask = _pick(folder, space, ("desc-brain_",), "mask")
            return Files(image, mask, _pick(folder, space, ("desc-aseg_",), "dseg"))
    raise MissingFileError(
        folder, f"--output-spaces {space}: the template is not on this machine", f"Run: {fetch(space)}"
    )


def fetch(space: Space) -> str:
    """The command that fetches a template of TemplateFlow.

    Examples
    --------
    >>> fetch(parse("MNIInfant:cohort-2"))
    'python -c "from templateflow import api; api.get(\\'MNIInfant\\', cohort=\\'2\\', resolution=1)"'
    """
    cohort = f", cohort='{space.cohort}'" if space.cohort else ""
    number = space.resolution or "1"
    resolution = number if number.isdigit() else f"'{number}'"
    get = f"api.get('{space.name}'{cohort}, resolution={resolution})"
    return f'python -c "from templateflow import api; {get}"'


def _check_cohort(space: Space, root: Path) -> None:
    there = sorted(p.name.removeprefix("cohort-") for p in root.glob("cohort-*")) if root.is_dir() else []
    if there and space.cohort is None:
        named = ", ".join(f"cohort-{c}" for c in there)
        raise UsageError(
            None,
            f"--output-spaces {space}: the template has cohorts and none was named",
            f"Add one of them: {named}",
        )


def _pick(folder: Path, space: Space, descs: tuple[str, ...], suffix: str) -> Path | None:
    """The file of that suffix in the wanted resolution, or in the finest."""
    cohort = f"_cohort-{space.cohort}" if space.cohort else ""
    found = []
    for rank, desc in enumerate(descs):
        for path in folder.glob(f"tpl-{space.name}{cohort}_*{suffix}.nii.gz"):
            middle = path.name.removeprefix(f"tpl-{space.name}{cohort}_").removesuffix(f"{suffix}.nii.gz")
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
