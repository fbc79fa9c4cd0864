"""TemplateFlow's client: which templates there are, and their files fetched into its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from templateflow.client import TemplateFlowClient

from ....models.errors import MissingFileError, UsageError
from ....models.parcellation.names import AtlasName
from ....models.templates import catalog, spaces
from ....models.templates.spaces import Space

WANTED = (
    {"suffix": "T1w", "desc": None},
    {"suffix": "T2w", "desc": None},
    {"suffix": "mask", "desc": "brain"},
    {"suffix": "dseg", "desc": "aseg"},
)
"""Files that a registration to a template uses, as queries of the client."""

SYSTEM = re.compile(r"\[Errno -?\d+\] ([^()\[\]'\"<>]+)|(?:Connection to \S+|Read) timed out")
"""Words of the system on a connection, within those of its callers."""

LONGEST = 160
"""Characters of a cause that are shown at most."""

NO_BRACKETS = str.maketrans("", "", "()")
"""Removes brackets, whose other half may be cut off."""

MODIFIER = re.compile(r"_(cohort|res)-([0-9A-Za-z]+)")


@cache
def client() -> TemplateFlowClient:
    """Return the client on TemplateFlow's folder; its list of all files comes with it and needs no network.

    Raises
    ------
    MissingFileError
        If the folder cannot be written.
    """
    root = spaces.home()
    try:
        found = TemplateFlowClient(root=root)
        found.cache.manager.update(root, local=True, overwrite=False, silent=True, timeout=10)
    except OSError as error:
        reason = f"TemplateFlow's folder cannot be written ({error.strerror or error})"
        raise MissingFileError(root, reason, "Set TEMPLATEFLOW_HOME to a folder of yours") from None
    return found


def names() -> list[str]:
    """Return the names of TemplateFlow's templates that are images."""
    return client().templates(suffix=["T1w", "T2w"])


def variants(name: str) -> dict[str, list[str]]:
    """Return the cohorts and resolutions of a template.

    Parameters
    ----------
    name : str
        Name of the template.

    Returns
    -------
    dict of str to list of str
        ``cohort`` and ``res``, without leading zeros; empty where a template has none.
    """
    found: dict[str, set[str]] = {"cohort": set(), "res": set()}
    for path in client().ls(name, suffix=["T1w", "T2w"], extension=".nii.gz"):
        for key, value in MODIFIER.findall(path.name):
            found[key].add(value.lstrip("0") or "0")
    return {key: sorted(values, key=lambda v: (len(v), v)) for key, values in found.items()}


def queries(space: Space) -> list[dict[str, Any]]:
    """Return the client's queries for the files of a space that a registration uses, those that find any.

    Parameters
    ----------
    space : Space
        Template with its cohort and resolution; without a resolution the finest one.

    Raises
    ------
    UsageError
        If TemplateFlow has no such template, cohort or resolution.
    """
    if space.name not in names():
        reason = f"TemplateFlow has no template {space.name}"
        raise UsageError(None, reason, "See brainseg templates list")
    known = variants(space.name)
    for key, asked in (("cohort", space.cohort), ("res", space.resolution)):
        if asked is not None and asked not in known[key]:
            there = ", ".join(f"{key}-{value}" for value in known[key]) or "none"
            raise UsageError(None, f"{space}: the template has no {key}-{asked}", f"It has {there}")
    if known["cohort"] and space.cohort is None:
        there = ", ".join(f"cohort-{value}" for value in known["cohort"])
        raise UsageError(None, f"{space}: the template has cohorts, but none was named", f"Add one: {there}")
    size = space.resolution or (known["res"][0] if known["res"] else None)
    common: dict[str, Any] = {"template": space.name, "extension": ".nii.gz", "atlas": None}
    common |= {"cohort": space.cohort} if space.cohort else {}
    common |= {"resolution": int(size)} if size is not None and size.isdigit() else {}
    return [found for one in WANTED if client().ls(**(found := common | one))]


def get(space: Space) -> list[Path]:
    """Fetch the files of a space that a registration uses, and return them.

    Raises
    ------
    UsageError
        If TemplateFlow has no such template, cohort or resolution.
    MissingFileError
        If they cannot be fetched.
    """
    asked = queries(space)
    wanted = [path for query in asked for path in client().ls(**query)]
    with _fetching(str(space), [path for path in wanted if not _is_here(path)]):
        for query in asked:
            client().get(**query)
    return wanted


def get_atlas(atlas: AtlasName, space: Space) -> list[Path]:
    """Fetch an atlas in a space, image and table, and return its files.

    Raises
    ------
    UsageError
        If TemplateFlow has no such atlas in the template.
    MissingFileError
        If it cannot be fetched.
    """
    common: dict[str, Any] = {"template": space.name, "atlas": atlas.name, "suffix": "dseg"}
    common |= {"cohort": space.cohort} if space.cohort else {}
    # Atlases of several thresholds have one table.
    asked = [
        common | {"desc": desc, "extension": extension}
        for extension, descs in ((".nii.gz", [atlas.desc or None]), (".tsv", [atlas.desc or None, None]))
        for desc in dict.fromkeys(descs)
    ]
    found = [query for query in asked if client().ls(**query)]
    wanted = [path for query in found for path in client().ls(**query)]
    if not {path.name.partition(".")[2] for path in wanted} >= {"nii.gz", "tsv"}:
        every = client().ls(space.name, suffix="dseg", extension=".nii.gz")
        known = sorted({m[1] for path in every if (m := re.search(r"_atlas-(.+)_dseg", path.name))})
        listed = ", ".join(name.replace("_desc-", ":desc-") for name in known) or "none"
        raise UsageError(None, f"TemplateFlow has no atlas {atlas.label} in {space}", f"It has: {listed}")
    command = f"{space} --atlas {replace(atlas, space=catalog.DEFAULT)}"
    with _fetching(command, [path for path in wanted if not _is_here(path)]):
        for query in found:
            client().get(**query)
    return wanted


def cause(error: BaseException) -> str:
    """Return why a download failed in few words: those of the system within the client's, if there are any.

    Examples
    --------
    >>> cause(OSError("Max retries (Caused by X('host', ([Errno -3] Temporary failure in name resolution)))"))
    'Temporary failure in name resolution'
    >>> cause(RuntimeError("status 404"))
    'status 404'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    found = [match[1] or match[0] for match in SYSTEM.finditer(text)]
    words = found[-1].strip() if found else text
    return words if len(words) <= LONGEST else f"{words[:LONGEST].translate(NO_BRACKETS)}..."


def _is_here(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@contextmanager
def _fetching(command: str, missing: list[Path]) -> Iterator[None]:
    """Turn what the client raises into an error with a remedy; leave no part of a file behind."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        for path in missing:
            if path.is_file():
                path.write_bytes(b"")  # as in the client's list of files
        name = command.partition(":")[0].partition(" ")[0]
        reason = f"{command} cannot be fetched ({cause(error)})"
        remedy = (
            f"Run on a machine with internet access: brainseg templates get {command}; then copy its "
            f"folder tpl-{name} from TemplateFlow's folder there to {client().cache.config.root}"
        )
        raise MissingFileError(None, reason, remedy) from None
