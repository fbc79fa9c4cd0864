"""Names of atlases as the user writes them (``--atlases``).

``NAME`` is an atlas that comes with the program, or one of TemplateFlow (``NAME[:desc-DESC][:SPACE]``);
``NAME=dseg.nii.gz[:SPACE]`` is a file of the user, with its labels in ``dseg.tsv`` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..data import FOLDER
from ..errors import MissingFileError, UsageError
from ..templates import catalog, spaces

WORD = re.compile(r"[A-Za-z0-9]+")
IMAGES = (".nii.gz", ".nii")

SHOWN, NEAR = 3, 0.6
"""Names that a remedy suggests at most, and likeness from which a name is suggested."""


@dataclass(frozen=True)
class AtlasName:
    """An atlas as the user names it.

    Attributes
    ----------
    name : str
        Its name, letters and digits.
    space : str
        Template that it lies in, as in the names of transforms (``MNIInfant+2`` for a cohort).
    desc : str
        TemplateFlow's ``desc``; empty without one.
    path : Path or None
        Image of the user.

    Examples
    --------
    >>> parse("Schaefer2018:desc-200Parcels7Networks").label
    'Schaefer2018200Parcels7Networks'
    """

    name: str
    space: str
    desc: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        space = f":{self.space}" if self.space != catalog.DEFAULT else ""
        if self.path is not None:
            return f"{self.name}={self.path}{space}"
        return f"{self.name}{f':desc-{self.desc}' if self.desc else ''}{space}"

    @property
    def template(self) -> str:
        """Name of the template without its cohort."""
        return self.space.partition("+")[0]

    @property
    def label(self) -> str:
        """Value of ``seg`` in the names of files."""
        return f"{self.name}{self.desc}"


@dataclass(frozen=True)
class AtlasFiles:
    """Files of an atlas: image of labels, their table, and what is known of it (JSON) or None."""

    image: Path
    table: Path
    about: Path | None = None


def folder() -> Path:
    """Return the folder of the atlases that come with the program."""
    return FOLDER / "parcellations"


def shipped() -> list[str]:
    """Return the names of the atlases that come with the program."""
    return sorted(path.name.removesuffix(".json") for path in folder().glob("*.json"))


def parse(text: str) -> AtlasName:
    """Parse an argument of ``--atlases``.

    Raises
    ------
    UsageError
        If it is invalid.

    Examples
    --------
    >>> str(parse("Lab=/data/lab_dseg.nii.gz:MNI152NLin6Asym"))
    'Lab=/data/lab_dseg.nii.gz:MNI152NLin6Asym'
    """
    name, equals, rest = str(text).partition("=")
    if equals:
        path, space = _split(rest)
        if not WORD.fullmatch(name) or not path.endswith(IMAGES):
            raise _wrong(text, "an atlas of yours is NAME=IMAGE[:SPACE], with letters and digits in NAME")
        return AtlasName(name, _space(text, space), path=Path(path).expanduser().absolute())
    name, *more = name.split(":")
    desc = [word.removeprefix("desc-") for word in more if word.startswith("desc-")]
    space = ":".join(word for word in more if not word.startswith("desc-"))
    if len(desc) > 1 or not all(WORD.fullmatch(word) for word in (name, *desc)):
        raise _wrong(text, "it is not NAME[:desc-DESC][:SPACE]")
    return AtlasName(name, _space(text, space), "".join(desc))


def _split(rest: str) -> tuple[str, str]:
    """Split ``IMAGE[:SPACE]``, where the path may have colons."""
    end = max((at + len(end) for end in IMAGES if (at := rest.rfind(f"{end}:")) >= 0), default=-1)
    return (rest[:end], rest[end + 1 :]) if end >= 0 else (rest, "")


def _space(text: str, space: str) -> str:
    if not space:
        return catalog.DEFAULT
    try:
        return spaces.parse(space).label
    except UsageError:
        raise _wrong(text, f"{space!r} is no template") from None


def _wrong(text: str, reason: str) -> UsageError:
    known = ", ".join(shipped())
    return UsageError(None, f"--atlases {text}: {reason}", f"Examples: {known}, Mine=dseg.nii.gz")


def find(atlas: AtlasName) -> AtlasFiles:
    """Return the files of an atlas.

    Raises
    ------
    UsageError
        If it is none of the program's, but another template is asked for.
    MissingFileError
        If the files are not on this machine.
    """
    if atlas.path is not None:
        return _own(atlas, atlas.path)
    if atlas.name in shipped() and not atlas.desc:
        if atlas.space != catalog.DEFAULT:
            reason = f"--atlases {atlas}: {atlas.name} lies in {catalog.DEFAULT}"
            raise UsageError(None, reason, f"Write {atlas.name}")
        stem = folder() / atlas.name
        return AtlasFiles(*(stem.with_name(f"{stem.name}{end}") for end in (".nii.gz", ".tsv", ".json")))
    return _of_templateflow(atlas)


def _own(atlas: AtlasName, path: Path) -> AtlasFiles:
    table = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    for file, what in ((path, "image"), (table, "table of labels (columns index and name)")):
        if not file.is_file():
            raise MissingFileError(file, f"missing {what} of the atlas {atlas.name}", "Check --atlases")
    about = table.with_suffix(".json")
    return AtlasFiles(path, table, about if about.is_file() else None)


def _of_templateflow(atlas: AtlasName) -> AtlasFiles:
    """Return the files in TemplateFlow's folder: the finest image, and the table without resolution."""
    space = spaces.parse(atlas.space.replace("+", ":cohort-"))
    root = spaces.home() / f"tpl-{space.name}"
    plain = f"atlas-{atlas.name}"
    middle = f"{plain}_desc-{atlas.desc}" if atlas.desc else plain
    images = sorted(p for p in root.rglob(f"tpl-*_{middle}_dseg.nii.gz") if _fits(p, space))
    # Atlases of several thresholds have one table.
    tables = [p for name in (middle, plain) for p in root.rglob(f"tpl-*_{name}_dseg.tsv") if _fits(p, space)]
    if images and tables:
        return AtlasFiles(images[0], tables[0])
    known = _known(root, space)
    here = ", ".join(name for name, fetched in known.items() if fetched) or "none"
    reason = (
        f"--atlases {atlas}: it is neither with the program ({', '.join(shipped())}) nor on this machine "
        f"(TemplateFlow's in {atlas.space} here: {here})"
    )
    raise MissingFileError(root, reason, _remedy(atlas, space, known))


def _known(root: Path, space: spaces.Space) -> dict[str, bool]:
    """Return the atlases of TemplateFlow's folder by name, and whether they were fetched."""
    out: dict[str, bool] = {}
    for path in sorted(root.rglob("tpl-*_atlas-*_dseg.nii.gz")):
        if (found := re.search(r"_atlas-(.*)_dseg", path.name)) and _of_cohort(path, space):
            name = found[1].replace("_desc-", ":desc-")
            out[name] = out.get(name, False) or _fits(path, space)
    return out


def _remedy(atlas: AtlasName, space: spaces.Space, known: dict[str, bool]) -> str:
    """Return how to get an atlas, or the nearest names where TemplateFlow's list is here and lacks it."""
    name = f"{atlas.name}:desc-{atlas.desc}" if atlas.desc else atlas.name
    fetch = f"brainseg templates get {space} --atlas "
    complete = not all(known.values())  # with empty files in place of what was not fetched
    if not complete or name in known:
        return f"Run: {fetch}{atlas}"
    every = {**known, **dict.fromkeys(shipped(), True)}
    parts = [part.lower() for part in re.findall(r"[A-Za-z]+|[0-9]+", f"{atlas.name} {atlas.desc}")]
    alike = [one for one in every if all(part in one.lower() for part in parts)]
    near = (alike or get_close_matches(name, every, cutoff=NEAR))[:SHOWN]
    if not near:
        return f"TemplateFlow has in {space}: {', '.join(known)}"
    lacking = [one for one in near if not every[one]]
    return f"The nearest are {', '.join(near)}" + (f"; fetch with: {fetch}{lacking[0]}" if lacking else "")


def _fits(path: Path, space: spaces.Space) -> bool:
    """Return whether a file of TemplateFlow was fetched and is one of the cohort."""
    return path.stat().st_size > 0 and _of_cohort(path, space)


def _of_cohort(path: Path, space: spaces.Space) -> bool:
    return not space.cohort or f"_cohort-{space.cohort}_" in path.name


def not_in_space(name: AtlasName, aligned: Iterable[str]) -> str:
    """Return the note on an atlas in a space that the image is not registered to."""
    there = ", ".join(aligned)
    return f"The atlas {name.label} was left out: it lies in {name.space}; the image is registered to {there}"
