"""Index of the anatomical images; one that is kept between runs is made by pybids.

Sidecars are not indexed, since a damaged one would stop the indexing of the whole dataset. Derivatives and
other datatypes are not searched. A stored index is rebuilt when the dataset has changed. Entities are read
from the path below the root of the dataset, never from the folders above it.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bids import BIDSLayout, BIDSLayoutIndexer
from bids.layout import parse_file_entities
from bids.layout.models import Config

from ...models.errors import DatasetError, UsageError
from ...models.io import folders
from ..config.settings import MODALITIES, Settings
from . import names

DATABASE = "layout_index.sqlite"
OUTSIDE = r"^/(?!sub-)"
OTHER_DATATYPES = r"^/sub-[^/]+(?:/ses-[^/]+)?/(?!ses-|anat(?:/|$))"
HIDDEN = r"/\."


@dataclass(frozen=True)
class Image:
    """An anatomical image.

    Attributes
    ----------
    path : Path
        Its file.
    entities : dict
        Entities of its name as pybids reads them.
    fault : names.Fault or None
        What is wrong with its name, so that it cannot be used.
    """

    path: Path
    entities: dict[str, Any] = field(default_factory=dict)
    fault: names.Fault | None = None

    @property
    def participant(self) -> str:
        """Participant label without ``sub-``."""
        return str(self.entities["subject"])

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, or None."""
        return self.entities.get("session")

    @property
    def suffix(self) -> str:
        """Suffix, such as ``T1w``."""
        return self.entities["suffix"]


def anatomical_images(settings: Settings, labels: list[str]) -> list[Image]:
    """Return the anatomical images of participants; with a stored index, of all participants.

    Parameters
    ----------
    settings : Settings
        Settings of the run, with the dataset and the folder of a stored index.
    labels : list of str
        Participant labels without ``sub-``.

    Returns
    -------
    list of Image
        Whole images: magnitudes, no phase or real and imaginary parts.

    Raises
    ------
    DatasetError
        If pybids cannot index the dataset.
    """
    root, folder = settings.bids_dir, settings.bids_database_dir
    try:
        if folder:
            layout = _kept(root, folder)
            files = sorted(Path(path).relative_to(layout.root) for path in layout.get_files())
        else:
            files = sorted(path for label in labels for path in _below(root, label))
        images = [image for path in files if (image := _image(root, path)) is not None]
    except (DatasetError, UsageError):
        raise
    except Exception as error:
        reason = f"the dataset cannot be indexed ({type(error).__name__}: {error})"
        raise DatasetError(settings.bids_dir, reason, "Check it with bids-validator") from error
    return [image for image in images if image.entities.get("part") in (None, "mag")]


def entities_of(relative: Path, config: Config | str = "bids") -> dict[str, Any]:
    """Return the entities of a file of a dataset.

    Parameters
    ----------
    relative : Path
        Path below the root of the dataset.
    config : Config or str
        pybids' patterns of the entities.

    Examples
    --------
    >>> entities_of(Path("sub-01/anat/sub-01_run-2_T1w.nii.gz"))["run"]
    2
    """
    config = _config(config) if isinstance(config, str) else config
    return parse_file_entities(f"/{relative.as_posix()}", entities=config.entities.values())


@cache
def _config(name: str) -> Config:
    return Config.load(name)


def _image(root: Path, relative: Path) -> Image | None:
    """Return an image by its path below the dataset; None if it is no anatomical image of a participant."""
    label = relative.parts[0].removeprefix("sub-")
    if len(relative.parts) < 2 or label == relative.parts[0] or not relative.name.endswith(names.EXTENSIONS):
        return None
    entities = entities_of(relative)
    if entities.get("datatype") != "anat" or entities.get("suffix") not in MODALITIES:
        return None
    # pybids cuts labels at a character that BIDS does not allow.
    return Image(root / relative, entities | {"subject": label}, names.fault(root, relative))


def _below(root: Path, label: str) -> list[Path]:
    """Return the files of a participant's anatomical folders, as paths below the dataset.

    pybids looks at every folder of the dataset, whoever is asked for.
    """
    out: list[Path] = []
    for folder in _folders_of(root / f"sub-{label}"):
        with suppress(OSError):  # who has no image that can be read is told so
            out += [path.relative_to(root) for path in folders.files_below(folder)]
    return out


def _index(root: Path, database: Path) -> BIDSLayout:
    """Index the anatomical images of all participants."""
    ignore = [re.compile(OUTSIDE), re.compile(OTHER_DATATYPES), re.compile(HIDDEN)]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=False)
    return BIDSLayout(str(root), validate=False, database_path=database, indexer=indexer)


def _kept(root: Path, folder: Path) -> BIDSLayout:
    """Load the stored index; rebuild it if it is missing, damaged or outdated."""
    if root == folder or root in folder.parents:
        raise UsageError(
            folder, "the index would lie inside the dataset", "Give --bids-database-dir another folder"
        )
    if (folder / DATABASE).is_file() and _newest(root) < (folder / DATABASE).stat().st_mtime:
        try:
            layout = BIDSLayout(database_path=folder, validate=False)
            if Path(layout.root).resolve() == root.resolve():
                return layout
        except Exception:
            pass  # a damaged index is rebuilt
    # Written elsewhere, then moved: several processes may do this at once.
    partial = folder / f".{uuid.uuid4().hex}"
    try:
        _index(root, partial)
        (partial / DATABASE).replace(folder / DATABASE)
    except OSError as error:
        raise UsageError(
            folder,
            f"the index cannot be written ({error.strerror})",
            "Give --bids-database-dir another folder",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return BIDSLayout(database_path=folder, validate=False)


def _newest(root: Path) -> float:
    """Return the time of the latest change to a folder of participants, sessions or anatomical images."""
    return max(folder.stat().st_mtime for folder in [root, *_folders(root)])


def _folders(root: Path) -> Iterator[Path]:
    for participant in root.glob("sub-*"):
        yield participant
        yield from participant.glob("ses-*")
        yield from _folders_of(participant)


def _folders_of(participant: Path) -> Iterator[Path]:
    """Yield the anatomical folders of a participant."""
    yield from participant.glob("anat")
    for session in participant.glob("ses-*"):
        yield from session.glob("anat")
