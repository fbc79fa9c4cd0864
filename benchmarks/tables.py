"""Markdown tables, and their insertion between the markers of a page."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]], digits: int = 3) -> str:
    """Return a table; the first column is text, numbers are rounded, NaN is a dash.

    Examples
    --------
    >>> print(markdown(["case", "Dice"], [["a", 0.98765], ["b", float("nan")]]))
    | case | Dice |
    |---|---:|
    | a | 0.988 |
    | b | – |
    """
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for row in rows:
        cells = [cell if isinstance(cell, str) else _number(cell, digits) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: object, digits: int) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if value != value else f"{value:.{digits}f}"


def stamp(*weights: str) -> str:
    """Return a line with date, versions and machine of a measurement."""
    from brainseg.models.networks import zoo

    cards = [f"{Path(name).stem} {zoo.read_card(name)['sha256'][:8]}" for name in weights]
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"brainseg-bids {version('brainseg-bids')}",
        *(["weights " + ", ".join(cards)] if cards else []),
        f"{len(os.sched_getaffinity(0))} CPU cores, {_processor()}",
    ]
    return "*" + "; ".join(parts) + "*"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def put(page: Path, name: str, text: str) -> None:
    """Replace the text between the markers of ``name`` in ``page``; append them if they are missing."""
    begin, end = f"<!-- {name}: begin, written by the script -->", f"<!-- {name}: end -->"
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    block = f"{begin}\n{text.strip()}\n{end}"
    head, found, rest = old.partition(begin)
    if found and end in rest:
        new = head + block + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{block}\n".lstrip()
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(new, encoding="utf-8")


def say(text: str) -> None:
    """Print progress on standard error, so that standard output has only the tables."""
    print(text, file=sys.stderr, flush=True)


def digest(*parts: bytes | str) -> str:
    """Return a short digest of content."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
        found.update(b"\0")
    return found.hexdigest()[:12]
