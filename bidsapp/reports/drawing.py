"""Draw the figures of one participant-session from its derivatives.

Figures go to ``sub-01/figures``: a thumbnail, the data of the viewer, and a script with all others. A JSON
file next to them holds their names and what was measured. With it, a page can be written again without
reading an image, as long as the derivatives stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...models.io import outputs
from ...models.io.atomic import write_text
from .. import __version__
from .canvas import ASEG, DSEG, MASK, PREPROC, Canvas
from .derivatives import Result, read_json
from .sections import (
    bias,
    conform,
    coregistration,
    hippocampus,
    lesion,
    own,
    parcels,
    registration,
    segmentation,
    skullstrip,
)

IMAGES = (PREPROC, MASK, DSEG, ASEG, outputs.ending("tissue"))
Section = Callable[[Canvas], dict[str, Any]]


def draw(result: Result) -> dict[str, Any]:
    """Draw the figures of a participant-session, unless the existing ones show the same derivatives.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    dict
        ``figures`` (names by section), ``pack`` (script with the figures), ``files`` (all names of files),
        ``problems`` (reason by section that could not be drawn) and what the sections measured.
    """
    path = result.figures / f"{result.key}_desc-report_facts.json"
    state = _state(result)
    facts = read_json(path)
    files = facts.get("files")
    known = isinstance(files, list) and all((result.figures / str(name)).is_file() for name in files)
    if known and facts.get("derivatives") == state:
        return facts
    before = [name for section in facts.get("figures", {}).values() for name in section.values()]
    facts = {"derivatives": state, "figures": {}, "problems": {}, "pack": "", "files": []}
    if result.file(PREPROC) is None and not (result.file(MASK) and result.source):
        return facts
    canvas = Canvas(result)
    for section, function in sections_of(canvas).items():
        try:
            drawn = function(canvas)
        except Exception as error:  # one damaged derivative must not cost the page that says so
            facts["problems"][section] = f"{type(error).__name__}: {error}"
            continue
        facts["figures"][section] = drawn.pop("figures", {})
        facts |= drawn
    facts["pack"] = canvas.write_pack()
    names = {name for drawn in facts["figures"].values() for name in drawn.values()} - {*canvas.packed}
    facts["files"] = sorted(filter(None, {*names, facts["pack"]}))
    _remove(result, {*before} - {*facts["files"]})  # an earlier version wrote a file for every figure
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return facts


def _remove(result: Result, names: set[str]) -> None:
    """Remove figures of the participant-session; names of other files are passed over."""
    for name in names:
        if name == Path(name).name and name.startswith(f"{result.key}_"):
            with suppress(OSError):
                (result.figures / name).unlink(missing_ok=True)


def sections_of(canvas: Canvas) -> dict[str, Section]:
    """Return the function that draws each section, for sections whose derivatives exist."""
    result = canvas.result
    space = registration.files(result)
    sections: dict[str, tuple[bool, Section]] = {
        "image": (True, conform.draw),
        "mask": (canvas.has(MASK), skullstrip.draw),
        "bias": (canvas.has(MASK) and canvas.has(PREPROC), bias.draw),
        "segmentation": (canvas.has(ASEG), segmentation.draw),
        "viewer": (canvas.has(ASEG), segmentation.draw_viewer),
        "tissues": (canvas.has(DSEG), segmentation.draw_tissues),
        "own": (bool(own.endings(result)), own.draw),
        "alignment": (bool(space) and canvas.has(space[0]), registration.draw),
        "hippocampus": (canvas.has(hippocampus.IMAGE), hippocampus.draw),
        "parcels": (bool(parcels.found(result)), parcels.draw),
        "lesion": (canvas.has(lesion.MASK), lesion.draw),
        "contrasts": (bool(coregistration.found(result)), coregistration.draw),
    }
    return {name: function for name, (available, function) in sections.items() if available}


def _state(result: Result) -> list[Any]:
    """Return the version, and size and time of every file that the figures depend on."""
    endings = [
        *IMAGES,
        skullstrip.CAVITY,
        hippocampus.IMAGE,
        lesion.MASK,
        *own.endings(result),
        *registration.files(result),
    ]
    endings += [parcels.image_of(atlas) for atlas in parcels.found(result)]
    found = [path.stat() if (path := result.file(ending)) else None for ending in endings]
    found += [path.stat() for _, path in coregistration.found(result)]
    found.append(None if found[0] else (path.stat() if (path := result.source) else None))
    return [__version__, *endings, *([s.st_size, s.st_mtime_ns] if s else None for s in found)]
