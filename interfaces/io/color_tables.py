"""Color tables of labels as FreeSurfer has them (``FreeSurferColorLUT.txt``), for freeview and FSLeyes.

Source of the format: https://surfer.nmr.mgh.harvard.edu/fswiki/LabelsClutsAnnotationFiles
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import files

HEADER = f"#{'No.':<7}{'Label Name:':<44}{'R':>4}{'G':>4}{'B':>4}{'A':>4}"


def lines(labels: Iterable[tuple[int, str, str]]) -> list[str]:
    """Return the lines of a color table; the background is added if it is missing.

    Spaces in names become hyphens, since spaces divide the columns. The last column is 0, as in FreeSurfer's
    own tables.

    Parameters
    ----------
    labels : iterable of (int, str, str)
        Index, name and color (``#rrggbb``) of every label; without a valid color it is gray.

    Examples
    --------
    >>> [line.split() for line in lines([(1, "Gray Matter", "#cd3e4e")])[1:]]
    [['0', 'Background', '0', '0', '0', '0'], ['1', 'Gray-Matter', '205', '62', '78', '0']]
    """
    rows = sorted({int(index): (name, color) for index, name, color in labels}.items())
    if not rows or rows[0][0] != 0:
        rows.insert(0, (0, ("Background", "#000000")))
    out = [HEADER]
    for index, (name, color) in rows:
        red, green, blue = _rgb(color)
        word = "-".join(str(name).split()) or "-"
        out.append(f"{index:<8d}{word:<43s} {red:>4d}{green:>4d}{blue:>4d}{0:>4d}")
    return out


def write(path: Path, labels: Iterable[tuple[int, str, str]]) -> Path:
    """Write a color table and return its path; for its content see :func:`lines`."""
    return files.write_text(path, "\n".join(lines(labels)) + "\n")


def _rgb(color: str) -> tuple[int, int, int]:
    try:
        red, green, blue = bytes.fromhex(str(color).removeprefix("#"))
    except ValueError:
        return 128, 128, 128
    return red, green, blue
