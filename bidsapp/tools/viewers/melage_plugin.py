"""``brainseg melage-plugin``: the extension of MELAGE, and label descriptions for it and ITK-SNAP."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ....interfaces.io import files
from ....models.errors import UsageError
from ....models.population import labels

NAME = "brainseg_bids"
"""Folder of the extension."""

SOURCES = Path(__file__).with_name("melage")
"""Its files. They are no modules of this package: they import Qt and MELAGE, which only the viewer has."""

PROGRAM = [sys.executable, "-c", "from brainseg.bidsapp.cli.main import main; raise SystemExit(main())"]
"""Words that call ``brainseg`` from a program with another Python."""

TABLES = {"structures": "adult", "tissues": "tissue", "fetal": "fetal"}
"""Label tables by the name of their description."""


def run(args: argparse.Namespace) -> int:
    """Write the extension; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg melage-plugin``.

    Raises
    ------
    UsageError
        If the folder does not exist.
    """
    folder = Path(args.folder)
    if not folder.is_dir():
        raise UsageError(folder, "there is no such folder", "Give the folder plugins of MELAGE")
    out = folder / NAME
    files.write_text(out / "__init__.py", "")
    for source in sorted(SOURCES.glob("*.py.txt")):
        text = source.read_text(encoding="utf-8").replace('"@PROGRAM@"', repr(PROGRAM))
        files.write_text(out / source.name.removesuffix(".txt"), text)
    for name, table in TABLES.items():
        files.write_text(out / f"{name}.txt", description(labels.load(table)))
    print(out)
    return 0


def description(table: labels.LabelTable) -> str:
    """Return a label table as ITK-SNAP describes labels: index, color, opacity, visibility, name.

    Examples
    --------
    >>> description(labels.load("tissue")).splitlines()[2]
    '1 205 62 78 1 1 1 "gm"'
    """
    lines = ["# IDX R G B A VIS MSH LABEL"]
    for label in table:
        red, green, blue = (int(label.color[k : k + 2], 16) for k in (1, 3, 5))
        seen = int(label.index > 0)
        lines.append(f'{label.index} {red} {green} {blue} {seen} {seen} {seen} "{label.name}"')
    return "\n".join(lines) + "\n"
