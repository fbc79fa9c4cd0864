"""Fetal growth on the pages: volumes against gestational age, with the range of the atlases as a band."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ....models.population import growth, labels, populations
from ....models.population.growth import Growth
from .. import derivatives
from ..derivatives import Result

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 300, 190, 44, 28, 22
"""Size of one plot, and its margins (pixels)."""

DOT = "#d1495b"
"""Color of the dots."""

OUTER = "Outer CSF"
"""Title of the label CSF, which is without the ventricles."""

HINT = (
    "The band is the mean ± 2 standard deviations of the atlases that the networks were trained on. Each "
    "atlas averages many fetuses, so individual fetuses vary more. Open circles: the age is estimated."
)


def section(results: Sequence[Result]) -> str:
    """Plot volumes against age.

    Parameters
    ----------
    results : sequence of Result
        The participant-sessions; those without age or growth curves are left out.

    Returns
    -------
    str
        SVG within HTML; empty if there is nothing to plot.
    """
    people = [person for result in results if (person := _person(result)) is not None]
    names = {person["growth"] for person in people}
    out = []
    for name in sorted(names):
        own = [person for person in people if person["growth"] == name]
        curves, table = growth.load(name), own[0]["table"]
        plots = [_plot(index, curves, table, own) for index in curves.curves]
        out.append(f'<div class="growth">{"".join(plots)}</div>')
    return "".join(out) + (f'<p class="hint">{HINT}</p>' if out else "")


def _person(result: Result) -> dict[str, Any] | None:
    """Return age and volumes (mm3) of a participant-session; None without age or growth curves."""
    facts = result.facts
    record = populations.load(facts.population)
    if not record.growth or facts.age is None or facts.age_unit != record.age_unit:
        return None
    volumes = {index: derivatives.number(row.get("volume_mm3")) or 0.0 for index, row in result.rows.items()}
    return {
        "key": result.key,
        "age": facts.age,
        "estimated": facts.estimated,
        "volumes": growth.both_sides(volumes, record.labels),
        "growth": record.growth,
        "table": record.labels,
    }


class _Axes:
    """Scales of one plot.

    Parameters
    ----------
    weeks : tuple of float
        First and last gestational age.
    top : float
        Largest volume (mL).
    """

    def __init__(self, weeks: tuple[float, float], top: float) -> None:
        self.first, self.last = weeks
        self.top = top

    def x(self, age: float) -> float:
        """Return the horizontal position (pixels) of an age."""
        return round(LEFT + (age - self.first) / (self.last - self.first) * (WIDTH - LEFT - 8), 1)

    def y(self, volume: float) -> float:
        """Return the vertical position (pixels) of a volume."""
        return round(HEIGHT - BOTTOM - volume / self.top * (HEIGHT - BOTTOM - TOP), 1)


def _plot(index: int, curves: Growth, table: str, people: list[dict[str, Any]]) -> str:
    """Return the plot of one tissue: the band, and a dot for each participant-session."""
    curve = curves.curves[index]
    first = min([curves.weeks[0], *(p["age"] for p in people)]) - 0.5
    last = max([curves.weeks[1], *(p["age"] for p in people)]) + 0.5
    ages = [curves.weeks[0] + k * (curves.weeks[1] - curves.weeks[0]) / 40 for k in range(41)]
    volumes = [p["volumes"].get(index, 0.0) / 1000 for p in people]
    axes = _Axes((first, last), 1.08 * max([curve.at(a, 2) / 1000 for a in ages] + volumes))

    def points(sigma: float) -> list[str]:
        return [f"{axes.x(a)},{axes.y(curve.at(a, sigma) / 1000)}" for a in ages]

    label = labels.load(table)[index]
    name = OUTER if label.total == "outer_csf" else label.name.removeprefix("Left-").replace("-", " ")
    parts = [
        f'<text x="{LEFT}" y="14" font-weight="600">{escape(name)} (mL)</text>',
        f'<polygon points="{" ".join(points(2) + points(-2)[::-1])}" fill="currentColor" opacity="0.15"/>',
        f'<polyline points="{" ".join(points(0))}" fill="none" stroke="currentColor" opacity="0.6"/>',
        *_ticks(axes),
        *(_dot(axes, person, volume) for person, volume in zip(people, volumes, strict=True)),
    ]
    words = f"{name} against gestational age"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(words)}" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
    )


def _ticks(axes: _Axes) -> list[str]:
    """Return the axes with their numbers."""
    base, end = HEIGHT - BOTTOM, WIDTH - 8
    parts = [f'<path d="M{LEFT} {TOP}V{base}H{end}" fill="none" stroke="currentColor"/>']
    for week in range(int(axes.first) + 1, int(axes.last) + 1):
        if week % 4 == 0:
            parts.append(f'<text x="{axes.x(week)}" y="{HEIGHT - 14}" text-anchor="middle">{week}</text>')
    for share in (0, 0.5, 1):
        value = share * axes.top / 1.08
        parts.append(f'<text x="{LEFT - 5}" y="{axes.y(value) + 4}" text-anchor="end">{value:.3g}</text>')
    parts.append(f'<text x="{end}" y="{HEIGHT - 2}" text-anchor="end">gestational weeks</text>')
    return parts


def _dot(axes: _Axes, person: dict[str, Any], volume: float) -> str:
    """Return the dot of a participant-session; open if the age is an estimate."""
    words = f"{person['key']}: {volume:.1f} mL at {person['age']:.1f} weeks"
    words += " (estimated)" if person["estimated"] else ""
    fill = "none" if person["estimated"] else DOT
    return (
        f'<circle cx="{axes.x(person["age"])}" cy="{axes.y(volume)}" r="4.5" fill="{fill}" stroke="{DOT}" '
        f'stroke-width="2"><title>{escape(words)}</title></circle>'
    )
