"""Names of image files that BIDS does not know: contradictions to the folder, and near misses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath

from ...models.errors import InputError

EXTENSIONS = (".nii.gz", ".nii", ".mgz")
"""Extensions of images that are read."""

FOREIGN = (".mgh", ".img", ".nrrd", ".mha", ".mnc")
"""Extensions of images to convert."""

SUFFIXES = {
    "T1w": ("t1", "t1w", "mprage", "t1mprage", "t1weighted", "spgr", "fspgr", "bravo"),
    "T2w": ("t2", "t2w", "t2weighted"),
    "FLAIR": ("flair", "t2flair", "flairw"),
    "PDw": ("pd", "pdw"),
    "UNIT1": ("unit1",),
    "T2starw": ("t2star", "t2starw"),
    "PDT2": ("pdt2",),
}
"""Suffixes, and what people write for them in lower case."""

DATATYPES = {
    *("func", "dwi", "fmap", "perf", "meg", "eeg", "ieeg", "pet", "micr", "beh", "nirs", "motion", "mrs"),
}
"""Folders without anatomical images."""

DEPTH = 3
"""Folders below that of a participant that are looked into."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with the name of an image.

    Attributes
    ----------
    path : Path
        The file.
    session : str or None
        Label of the session that its folder says.
    suffix : str
        The suffix that is meant; empty if that is not known.
    reason, remedy : str
        What is wrong, and what to do.
    """

    path: Path
    session: str | None
    suffix: str
    reason: str
    remedy: str

    @property
    def error(self) -> InputError:
        """The fault as the error of the participant-session."""
        return InputError(self.path, self.reason, self.remedy)

    @property
    def note(self) -> str:
        """The fault as a note of a participant-session that has other images."""
        return f"{self.path.name} is not used: {self.reason}. {self.remedy}."


def contradiction(relative: PurePath) -> tuple[str, str] | None:
    """Return reason and remedy if a name says another participant or session than its folder.

    Parameters
    ----------
    relative : PurePath
        Path below the root of the dataset: what stands above it is never read.

    Examples
    --------
    >>> contradiction(PurePath("sub-17/anat/sub-18_T1w.nii.gz"))[0]
    'its name says sub-18, its folder sub-17'
    >>> contradiction(PurePath("sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz"))
    """
    for prefix in ("sub-", "ses-"):
        folder, own = _in_folder(relative, prefix), _in_name(relative, prefix)
        if folder and own and folder != own:
            remedy = "Find out whose image it is, then rename or move it"
            return f"its name says {own}, its folder {folder}", remedy
    return None


def fault(root: Path, relative: PurePath) -> Fault | None:
    """Return what is wrong with the name of an image; None if nothing is, or if it is of no known kind.

    Parameters
    ----------
    root : Path
        The dataset.
    relative : PurePath
        Path of the image below it.

    Examples
    --------
    >>> fault(Path("/data"), PurePath("sub-1/anat/sub-1_T1W.NII.GZ")).reason
    'found sub-1/anat/sub-1_T1W.NII.GZ, and BIDS wants sub-1/anat/sub-1_T1w.nii.gz'
    >>> fault(Path("/data"), PurePath("sub-1/anat/sub-1_T1map.nii.gz"))
    """
    suffix, wanted = bids_name(relative)
    said = contradiction(relative)
    foreign = wanted.endswith(FOREIGN)
    if said is None and suffix and (foreign or wanted != relative.as_posix()):
        remedy = "Convert it (mri_convert, dcm2niix)" if foreign else "Rename it"
        wanted = re.sub(r"\.\w+$", ".nii.gz", wanted) if foreign else wanted
        reason = f"found {relative.as_posix()}, and BIDS wants {wanted}"
        if there := _standing(root, relative, wanted):
            reason = f"found {relative.as_posix()}, but {there} exists already"
            remedy = f"Remove one of the two, or rename one as another run: {_free(root, wanted)}"
        said = reason, remedy
    # The label becomes a part of file names: no other characters than letters, digits and hyphens.
    session = re.sub(r"[^0-9A-Za-z+_-]+", "-", _in_folder(relative, "ses-")[4:]).strip("-_") or None
    return Fault(root / relative, session, suffix, *said) if said else None


def bids_name(relative: PurePath) -> tuple[str, str]:
    """Return the suffix that an image is meant to have, and its path below the dataset as BIDS wants it.

    Both are empty if the name tells no supported contrast.

    Examples
    --------
    >>> bids_name(PurePath("sub-Pat_08/t1_mprage.nii"))
    ('T1w', 'sub-Pat08/anat/sub-Pat08_T1w.nii')
    >>> bids_name(PurePath("sub-09/anat/sub-09_T1w__dup-01.nii.gz"))
    ('T1w', 'sub-09/anat/sub-09_run-2_T1w.nii.gz')
    """
    stem, extension = _parted(relative.name)
    stem, _, copy = stem.partition("__dup-")
    folders = [label for prefix in ("sub-", "ses-") if (label := _in_folder(relative, prefix))]
    labels = [f"{label[:4]}{re.sub(r'[^0-9A-Za-z+]', '', label[4:])}" for label in folders]
    for folder in folders:
        if stem.casefold().startswith(folder.casefold()):
            stem = stem[len(folder) :].lstrip("_- ")
    words = [word for word in re.split(r"[_\s]+", stem) if word]
    if words and re.match(r"(?i)ses-", words[0]) and len(folders) == 1:
        labels.append(words.pop(0))
    suffix = _suffix(words[-1]) if words else ""
    if not suffix:
        return "", ""
    kept = [word for word in words[:-1] if "-" in word and not word.startswith(("sub-", "ses-"))]
    kept += [f"run-{int(copy) + 1}"] if copy.isdigit() else []
    place = [label for label in labels if len(folders) > 1 or label.startswith("sub-")]
    return suffix, "/".join([*place, "anat", "_".join([*labels, *kept, suffix]) + extension])


def near_misses(root: Path, label: str, known: set[Path]) -> list[Fault]:
    """Return the images of a participant whose names are nearly BIDS names.

    Parameters
    ----------
    root : Path
        The dataset.
    label : str
        Label of the participant, as in the name of the folder.
    known : set of Path
        Images that the index has.
    """
    paths = (path for path in _files(root / f"sub-{label}", DEPTH) if path not in known)
    return [found for path in sorted(paths) if (found := fault(root, path.relative_to(root)))]


def participants(root: Path) -> list[str]:
    """Return the labels of the folders of participants, without ``sub-``."""
    with os.scandir(root) as entries:
        return [entry.name[4:] for entry in entries if entry.name.startswith("sub-") and entry.is_dir()]


def folders(root: Path) -> list[str]:
    """Return the folders that look like participants and have no BIDS name, such as ``Sub-01`` or ``01``."""
    with suppress(OSError), os.scandir(root) as entries:
        names = [e.name for e in entries if not e.name.startswith("sub-") and e.is_dir()]
        found = sorted(n for n in names if re.match(r"(?i)sub(ject)?[-_ ]?[0-9A-Za-z]*\d", n))
        # Without a prefix, such as 01, only the folder of images shows that it is a participant.
        return found + sorted(
            n
            for n in names
            if n.isalnum()
            and n not in ("derivatives", "sourcedata", "rawdata")
            and (root / n / "anat").is_dir()
        )
    return []


def _standing(root: Path, relative: PurePath, wanted: str) -> str:
    """Return another image of the name that BIDS wants, with any extension; empty if there is none."""
    stem, own = _parted(wanted)[0], root / relative
    for name in (stem + extension for extension in EXTENSIONS):
        path = root / name
        # Where case does not count in names, it may be the image itself.
        if path.exists() and not (own.exists() and path.samefile(own)):
            return name
    return ""


def _free(root: Path, wanted: str) -> str:
    """Return the name of an image with the first run that no image has."""
    stem, extension = _parted(wanted)
    later = r"((?:_(?:mod|echo|flip|inv|mt|part|proc|space|chunk)-[^_/]+)*_[^_/]+)$"
    named = (re.sub(rf"(?:_run-[^_/]+)?{later}", rf"_run-{number}\1", stem) for number in count(2))
    free = next(name for name in named if not any((root / f"{name}{e}").exists() for e in EXTENSIONS))
    return PurePath(free + extension).name


def _files(folder: Path, depth: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in DATATYPES:
                continue
            if entry.name.lower().endswith((*EXTENSIONS, *FOREIGN)) and not entry.is_dir():
                yield Path(entry.path)
            elif depth and entry.is_dir():
                yield from _files(Path(entry.path), depth - 1)


def _in_folder(relative: PurePath, prefix: str) -> str:
    """Return the folder of the participant or session, such as ``sub-01``; empty if there is none."""
    return next((part for part in relative.parts[:-1] if part.startswith(prefix)), "")


def _in_name(relative: PurePath, prefix: str) -> str:
    """Return what the file name says of the participant or session; empty if it says nothing."""
    folder = _in_folder(relative, prefix)
    if folder and re.search(rf"(?:^|_){re.escape(folder)}(?:_|$)", _parted(relative.name)[0]):
        return folder  # a label with characters that BIDS does not allow
    found = re.search(rf"(?:^|_)({prefix}[^_.]+)", relative.name)
    return found[1] if found else ""


def _suffix(word: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", word.lower())
    return next((suffix for suffix, written in SUFFIXES.items() if plain in written), "")


def _parted(name: str) -> tuple[str, str]:
    """Return the stem of a name, and its extension in lower case."""
    lower = name.lower()
    extension = next((ext for ext in (*EXTENSIONS, *FOREIGN) if lower.endswith(ext)), "")
    return (name[: len(name) - len(extension)] if extension else name.partition(".")[0]), extension
