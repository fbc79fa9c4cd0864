"""The volumes of one participant-session compared with all others in the folder."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from ...models.population import labels
from . import label_tables
from .derivatives import Result
from .sections.quality import normal_range

TILES = ("total_gm", "cortex_gm", "total_wm", "lateral_ventricles", "total_csf")
"""Totals at the top of a participant's page."""

WHOLE = (("Brain mask", "brain"), ("Intracranial volume", "intracranial"))
"""Titles and names of the volumes that hold all others."""

HIPPOCAMPI = ("Left-Hippocampus", "Right-Hippocampus")
RANKS_FROM, PERCENTILES_FROM, MOST_DOTS = 5, 20, 120
"""Numbers of values from which ranks and percentiles are shown, and most dots of a strip."""


class Cohort:
    """Volumes of every participant-session that has them.

    Parameters
    ----------
    volumes : dict of str to dict
        Volumes (mm3) by name, by key of the participant-session.
    """

    def __init__(self, volumes: dict[str, dict[str, float]]) -> None:
        self.volumes = {key: found for key, found in volumes.items() if found}
        self._sorted: dict[tuple[str, ...], np.ndarray] = {}
        self._strips: dict[tuple[str, ...], Strip] = {}

    @classmethod
    def of(cls, results: list[Result]) -> Cohort:
        """Return the cohort of these participant-sessions."""
        return cls({result.key: result.volumes for result in results})

    def __len__(self) -> int:
        return len(self.volumes)

    def __contains__(self, key: str) -> bool:
        return key in self.volumes

    def values(self, names: tuple[str, ...]) -> np.ndarray:
        """Return sums of the volumes (mm3) of these names, ascending; incomplete ones are left out."""
        if names not in self._sorted:
            found = [total(volumes, names) for volumes in self.volumes.values()]
            self._sorted[names] = np.sort([x for x in found if x is not None])
        return self._sorted[names]

    def place(self, key: str, names: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the place among all for a strip; None without volumes of this key or of any other.

        Parameters
        ----------
        key : str
            Key of the participant-session.
        names : tuple of str
            Names of the volumes to add up.
        """
        value = total(self.volumes.get(key, {}), names)
        if value is None or len(self.values(names)) < 2:
            return None
        if names not in self._strips:
            self._strips[names] = Strip(self.values(names))
        return self._strips[names].place(value)


def total(volumes: dict[str, float], names: tuple[str, ...]) -> float | None:
    """Return the sum of the volumes of these names; None if one is missing."""
    return sum(volumes[name] for name in names) if all(name in volumes for name in names) else None


class Strip:
    """A strip of 190 by 20 pixels with a dot for every value.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Two or more values, ascending.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, float)
        shown = self.values
        if len(shown) > MOST_DOTS:
            shown = np.quantile(shown, np.linspace(0, 1, MOST_DOTS))
        # Lines without length: their round ends are the dots, and all of them are one element.
        self.dots = "".join(f"M{self.across(x)},10h0" for x in shown)
        self.median = self.across(float(np.median(self.values)))

    def across(self, value: float) -> float:
        """Return the horizontal position (pixels) of a value."""
        low, high = self.values[0], self.values[-1]
        return round(float(8 + 174 * (value - low) / (high - low)), 1) if high > low else 95.0

    def place(self, value: float) -> dict[str, Any]:
        """Return the place of one of the values, for the template and in words.

        Examples
        --------
        >>> Strip([1.0, 2.0, 3.0, 4.0]).place(2.0)["words"]
        '2nd smallest of 4'
        """
        count = len(self.values)
        below, upto = (int(np.searchsorted(self.values, value, side)) for side in ("left", "right"))
        small = below + 1 <= count / 2
        rank, end = (below + 1, "smallest") if small else (count - below, "largest")
        percentile = round(50 * (below + upto) / count)
        place = end if rank == 1 else f"{ordinal(rank)} {end}"
        many = count >= PERCENTILES_FROM
        return {
            "x": self.across(value),
            "percentile": percentile,
            "short": f"P{percentile}" if many else place,
            "median": self.median,
            "dots": self.dots,
            "words": f"{place} of {count}" + (f", percentile {percentile}" if many else ""),
        }


def ordinal(n: int) -> str:
    """Return a number with its ending.

    Examples
    --------
    >>> ordinal(1), ordinal(2), ordinal(13)
    ('1st', '2nd', '13th')
    """
    end = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{end}"


@cache
def structures() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Return name without side, total, names to add up (both sides or one) and color of each structure.

    The total is the one of a probability map, such as ``total_gm``.
    """
    table = label_tables.every()
    whole = {part: total.name for total in labels.totals().values() if total.map for part in total.parts}
    out: list[tuple[str, str, tuple[str, ...], str]] = []
    for label in table:
        if label.index == 0 or label.name.startswith("Right-"):
            continue
        paired = label.partner != label.index
        parts = (label.name, table[label.partner].name) if paired else (label.name,)
        out.append(
            (
                re.sub(r"^Left-", "", label.name).replace("-", " "),
                whole.get(label.total, ""),
                parts,
                label.color,
            )
        )
    return out


def groups_of(result: Result, cohort: Cohort) -> list[dict[str, Any]]:
    """Return the rows of the table of volumes under headings by tissue; empty without volumes."""
    if not result.volumes:
        return []
    totals = [total for total in labels.totals().values() if total.name in result.volumes]
    whole = [name for name in WHOLE if name[1] in result.volumes]
    whole += [*((f"{total.title} ({total.name})", total.name) for total in totals)]
    groups = [{"name": "Totals", "rows": [_row(result, cohort, name, (part,)) for name, part in whole]}]
    for total in totals:
        rows = [
            _row(result, cohort, name, parts, color)
            for name, of, parts, color in structures()
            if of == total.name and any(part in result.volumes for part in parts)
        ]
        if rows:
            groups.append({"name": total.title, "rows": rows})
    return groups


def measures_of(results: list[Result]) -> list[dict[str, Any]]:
    """Return the measures of the plots: sums, structures of both sides together, and each side."""
    known = {name for result in results for name in result.volumes}
    out = [{"name": name, "parts": [part], "color": "", "group": "Whole brain"} for name, part in WHOLE]
    out += [
        {"name": f"{one.title} ({one.name})", "parts": [one.name], "color": "", "group": "Whole brain"}
        for one in labels.totals().values()
    ]
    kept = [entry for entry in structures() if all(part in known for part in entry[2])]
    # A total of one structure is that structure.
    smallest = {label.name: label.total for label in label_tables.every()}
    count = Counter(smallest[parts[0]] for _, _, parts, _ in kept)
    out += [
        {"name": n, "parts": [*parts], "color": c, "group": "Structures"}
        for n, _, parts, c in kept
        if smallest[parts[0]] not in known or count[smallest[parts[0]]] > 1
    ]
    out += [
        {"name": part.replace("-", " "), "parts": [part], "color": color, "group": "Sides"}
        for _, _, parts, color in kept
        for part in parts
        if len(parts) == 2
    ]
    return [measure for measure in out if all(part in known for part in measure["parts"])]


def _row(
    result: Result, cohort: Cohort, name: str, parts: tuple[str, ...], color: str = ""
) -> dict[str, Any]:
    left, right = (result.volumes.get(parts[k]) if len(parts) == 2 else None for k in (0, 1))
    both, brain = total(result.volumes, parts), result.volumes.get("brain")
    inside = result.volumes.get("intracranial")
    asymmetry = None
    if left is not None and right is not None and left + right > 0:
        asymmetry = 200 * (left - right) / (left + right)
    return {
        "name": name,
        "color": color,
        "paired": len(parts) == 2,
        "left": left,
        "right": right,
        "both": both,
        "interval": interval_of(result, parts),
        "share": both / brain if both is not None and brain and parts != ("intracranial",) else None,
        "fraction": both / inside if both is not None and inside else None,
        "asymmetry": asymmetry,
        "place": cohort.place(result.key, parts),
        "norm": normal_range(result, parts),
    }


def interval_of(result: Result, parts: tuple[str, ...]) -> tuple[float, float] | None:
    """Return the interval (mm3) of a volume, the ends of both sides added up; None without one."""
    found = [result.intervals[part] for part in parts if part in result.intervals]
    return (sum(x for x, _ in found), sum(x for _, x in found)) if len(found) == len(parts) else None


def tiles_of(result: Result, cohort: Cohort) -> list[dict[str, Any]]:
    """Return the volumes at the top of a page."""
    color = {label.name: label.color for label in label_tables.every()}
    totals = (labels.totals()[name] for name in TILES)
    rows = [
        *((name, (part,), "") for name, part in WHOLE),
        *((total.title, (total.name,), total.color) for total in totals),
        ("Hippocampi", HIPPOCAMPI, color.get(HIPPOCAMPI[0], "")),
    ]
    tiles = []
    for name, parts, hue in rows:
        value, place = total(result.volumes, parts), cohort.place(result.key, parts)
        if value is not None:
            told = place["words"] if place and len(cohort.values(parts)) >= RANKS_FROM else ""
            tiles.append({"name": name, "value": value, "color": hue, "place": told})
    return tiles
