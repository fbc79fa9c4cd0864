"""Labels of a network of the user on a participant's page: drawn over the brain, and their volumes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ....models.io import outputs
from .. import derivatives, mosaic
from ..canvas import Canvas
from ..derivatives import Result

GRAY = "#a0a0a0"
"""Color of a label without one."""

MOST = 255
"""Labels that one figure can have."""


def endings(result: Result) -> list[str]:
    """Return the endings of the files with labels of networks of the user."""
    start = f"{result.prefix}_"
    named = [name.removeprefix(start) for name in result.listed if name.startswith(start)]
    return [one for one in named if (found := outputs.find(one)) is not None and found.id == "own_labels"]


def draw(canvas: Canvas) -> dict[str, Any]:
    """Draw the labels in the colors of their table.

    Parameters
    ----------
    canvas : Canvas
        The participant-session.

    Returns
    -------
    dict
        ``figures``: file names of ``base``, and for every network ``fill`` and ``lines`` with its name.

    Raises
    ------
    ValueError
        If there are too many labels for a figure.
    """
    figures: dict[str, str] = {}
    for ending in endings(canvas.result):
        network = network_of(ending)
        found = canvas.like(canvas.read(ending, np.int32))
        values = np.unique(found[found > 0])
        if len(values) > MOST:
            raise ValueError(f"{network} has {len(values)} labels; a figure can show {MOST}")
        places = np.where(found > 0, np.searchsorted(values, found) + 1, 0).astype(np.uint8)
        colors = {int(row["index"]): row["color"] for row in table(canvas.result, network)}
        palette = {k: mosaic.color_of(colors.get(int(v), GRAY)) for k, v in enumerate(values, 1)}
        drawn = canvas.overlays(places, palette, network)
        figures["base"] = drawn["base"]
        figures |= {f"{kind} {network}": drawn[kind] for kind in ("fill", "lines")}
    return {"figures": figures}


def network_of(ending: str) -> str:
    """Return the name of the network in the name of a file.

    Examples
    --------
    >>> network_of("desc-mine_dseg.nii.gz")
    'mine'
    """
    return ending.removeprefix("desc-").partition("_")[0]


def table(result: Result, network: str) -> list[dict[str, str]]:
    """Return the rows of a network's label table: ``index``, ``name`` and a valid ``color``."""
    path = result.out_dir / outputs.ending("own_labels", network=network).replace(".nii.gz", ".tsv")
    rows = [row for row in derivatives.read_tsv(path) if str(row.get("index")).isdigit()]
    valid = re.compile("#[0-9a-fA-F]{6}")
    return [row | {"color": row["color"] if valid.fullmatch(row.get("color", "")) else GRAY} for row in rows]


def context(result: Result) -> list[dict[str, Any]]:
    """Return what the page shows of networks of the user.

    Parameters
    ----------
    result : Result
        The participant-session.

    Returns
    -------
    list of dict
        For every network ``name``, ``license``, and ``rows`` with ``name``, ``color`` and ``volume`` (mm3).
    """
    out = []
    for ending in endings(result):
        network = network_of(ending)
        colors = {row["index"]: row["color"] for row in table(result, network)}
        volumes = derivatives.read_tsv(result.file(outputs.ending("own_volumes", network=network)))
        rows = [
            {
                "name": row.get("name", ""),
                "color": colors.get(str(row.get("index")), GRAY),
                "volume": derivatives.number(row.get("volume_mm3")),
            }
            for row in volumes
        ]
        about = result.sidecar(ending).get("Network")
        license = str(about.get("License", "")) if isinstance(about, dict) else ""
        out.append({"name": network, "license": license, "rows": rows})
    return out
