"""``--bids-filter-file``: JSON ``{suffix: {entity: value}}`` that selects images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...models.errors import InputError, UsageError
from ..config.settings import MODALITIES
from . import sidecars
from .index import Image

ANY = "*"
ENTITIES = (
    *("subject", "session", "sample", "acquisition", "ceagent", "reconstruction", "run", "mt", "inv", "part"),
    *("echo", "flip", "chunk", "direction", "modality", "staining", "nucleus", "volume", "task", "tracer"),
    *("proc", "space", "datatype", "suffix", "extension"),
)
SHORT = {"sub": "subject", "ses": "session", "acq": "acquisition", "ce": "ceagent", "rec": "reconstruction"}


def read(path: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Read the filters by suffix.

    Parameters
    ----------
    path : Path
        The filter file.
    notes : list of str
        Notes for the log; those on ignored filters are appended.

    Returns
    -------
    dict of str to dict
        Queries (entity: value) by suffix.

    Raises
    ------
    UsageError
        If the file cannot be read or names an unknown entity.
    """
    if not path.exists() and not path.is_symlink():
        raise UsageError(path, "the file of --bids-filter-file does not exist", "Check the path")
    try:
        content = sidecars.read_object(path)
    except InputError as error:
        raise UsageError(error.path, error.reason, error.remedy) from None
    known = {name.lower(): name for name in MODALITIES}
    out = {}
    for key, query in content.items():
        if key.lower() not in known:
            notes.append(f"{path.name}: {key!r} is not a supported anatomical suffix; its filter is ignored")
            continue
        if not isinstance(query, dict):
            raise UsageError(
                path,
                f"the filter of {key!r} must be a JSON object",
                'Write it as in {"t1w": {"acquisition": null}}',
            )
        named: dict[str, Any] = {str(SHORT.get(entity, entity)): value for entity, value in query.items()}
        unknown = sorted(set(named) - set(ENTITIES))
        if unknown:
            raise UsageError(
                path,
                f"unknown entity {unknown[0]!r} in the filter of {key!r}",
                f"Entities are {', '.join(ENTITIES)}",
            )
        out[known[key.lower()]] = named
    return out


def match(images: list[Image], filters: dict[str, dict[str, Any]], notes: list[str]) -> list[Image]:
    """Return the images that match the filter of their suffix, or whose suffix has none.

    Parameters
    ----------
    images : list of Image
        All images.
    filters : dict of str to dict
        Queries by suffix.
    notes : list of str
        Notes for the log; the number of matches of each filter is appended.

    Returns
    -------
    list of Image
        In the same order.
    """
    out = [image for image in images if accepts(filters.get(image.suffix, {}), image.entities)]
    for suffix, query in filters.items():
        of_suffix = [image for image in images if image.suffix == suffix]
        kept = [image.path.name for image in out if image.suffix == suffix]
        shown = ", ".join(kept[:3]) + (", ..." if len(kept) > 3 else "")
        notes.append(
            f"Filter {suffix} {json.dumps(query)}: {len(kept)} of {len(of_suffix)} images"
            + (f" ({shown})" if kept else "")
        )
    return out


def none_of(path: Path, label: str, images: list[Image]) -> InputError:
    """Return the error of a participant of whose images the filters select none.

    Parameters
    ----------
    path : Path
        The filter file.
    label : str
        The participant.
    images : list of Image
        The images of the participant that could be used without the filters.
    """
    names = ", ".join(image.path.name for image in images[:3]) + (", ..." if len(images) > 3 else "")
    reason = f"its filters select 0 of {len(images)} images of sub-{label} ({names})"
    return InputError(path, reason, "Change the filter, or leave the participant out")


def accepts(query: dict[str, Any], entities: dict[str, Any]) -> bool:
    """Return whether entities match a query.

    Parameters
    ----------
    query : dict
        Values by entity: None for an absent one, ``*`` for any value, a list for any of its values.
    entities : dict
        Entities of a file name.

    Returns
    -------
    bool
        Whether every entity matches.

    Examples
    --------
    >>> accepts({"run": 1, "acquisition": None}, {"run": 1})
    True
    >>> accepts({"acquisition": "*"}, {"run": 1})
    False
    """
    return all(_one(value, entities.get(entity)) for entity, value in query.items())


def _one(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list):
        return any(_one(one, found) for one in wanted)
    if wanted is None or wanted == "Query.NONE":
        return found is None
    if wanted in (ANY, "Query.ANY"):
        return found is not None
    return found is not None and _plain(wanted) == _plain(found)


def _plain(value: Any) -> str:
    """Return the text without leading zeros of a number, so that 1, "1" and "01" are equal."""
    text = str(value)
    return text.lstrip("0") or "0" if text.isdigit() else text
