"""Growth before birth on the pages: volumes against age, with the curves of the atlases as a band."""

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

HINT = (
    "The band is the mean and two standard deviations of the atlases that the networks were trained on. Each "
    "atlas is the mean of many fetuses, so single fetuses spread wider than the band."
)


def section(units: Sequence[Result]) -> str:
    """Plots of the units whose age and growth are known, as SVG; empty if there are none."""
    people = [person for unit in units if (person := _person(unit)) is not None]
    names = {person["growth"] for person in people}
    out = []
    for name in sorted(names):
        own = [person for person in people if person["growth"] == name]
        curves, table = growth.load(name), own[0]["table"]
        plots = [_plot(index, curves, table, own) for index in curves.curves]
        out.append(f'<div class="growth">{"".join(plots)}</div>')
    return "".join(out) + (f'<p class="hint">{HINT}</p>' if out else "")


def _person(unit: Result) -> dict[str, Any] | None:
    """Age, whether it is estimated, and volumes (mm3) of a unit, if its population has growth curves."""
    age = unit.sidecar("desc-aseg_volumes.tsv").get("Age")
    value = derivatives.number(age.get("Value")) if isinstance(age, dict) else None
    if value is None:
        return None
    records = [populations.load(name) for name in populations.names()]
    found = next((r for r in records if r.growth and r.age_unit == age.get("Units")), None)
    if found is None:
        return None
    volumes = {index: derivatives.number(row.get("volume_mm3")) or 0.0 for index, row in unit.rows.items()}
    return {
        "key": unit.key,
        "age": value,
        "estimated": bool(age.get("Estimated")),
        "volumes": growth.both_sides(volumes, found.labels),
        "growth": found.growth,
        "table": found.labels,
    }


def _plot(index: int, curves: Growth, table: str, people: list[dict[str, Any]]) -> str:
    """One tissue: the band over the ages, and a dot for each unit; rings where the age is an estimate."""
    curve = curves.curves[index]
    first = min([curves.weeks[0], *(p["age"] for p in people)]) - 0.5
    last = max([curves.weeks[1], *(p["age"] for p in people)]) + 0.5
    ages = [curves.weeks[0] + k * (curves.weeks[1] - curves.weeks[0]) / 40 for k in range(41)]
    dots = [(p, p["volumes"].get(index, 0.0) / 1000) for p in people]
    top = 1.08 * max([curve.at(a, 2) / 1000 for a in ages] + [volume for _, volume in dots])

    def x(age: float) -> float:
        return round(LEFT + (age - first) / (last - first) * (WIDTH - LEFT - 8), 1)

    def y(volume: float) -> float:
        return round(HEIGHT - BOTTOM - volume / top * (HEIGHT - BOTTOM - TOP), 1)

    upper = [f"{x(a)},{y(curve.at(a, 2) / 1000)}" for a in ages]
    lower = [f"{x(a)},{y(curve.at(a, -2) / 1000)}" for a in reversed(ages)]
    middle = [f"{x(a)},{y(curve.at(a) / 1000)}" for a in ages]
    name = labels.load(table)[index].name.removeprefix("Left-").replace("-", " ")
    parts = [
        f'<text x="{LEFT}" y="14" font-weight="600">{escape(name)} (mL)</text>',
        f'<polygon points="{" ".join(upper + lower)}" fill="currentColor" opacity="0.15"/>',
        f'<polyline points="{" ".join(middle)}" fill="none" stroke="currentColor" opacity="0.6"/>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 8}" fill="none" stroke="currentColor"/>',
    ]
    for week in range(int(first) + 1, int(last) + 1):
        if week % 4 == 0:
            parts.append(f'<text x="{x(week)}" y="{HEIGHT - 14}" text-anchor="middle">{week}</text>')
    for share in (0, 0.5, 1):
        value = share * top / 1.08
        parts.append(f'<text x="{LEFT - 5}" y="{y(value) + 4}" text-anchor="end">{value:.3g}</text>')
    parts.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 2}" text-anchor="end">gestational weeks</text>')
    for person, volume in dots:
        told = f"{person['key']}: {volume:.1f} mL at {person['age']:.1f} weeks"
        told += " (estimated)" if person["estimated"] else ""
        fill = "none" if person["estimated"] else "#d1495b"
        parts.append(
            f'<circle cx="{x(person["age"])}" cy="{y(volume)}" r="4.5" fill="{fill}" stroke="#d1495b" '
            f'stroke-width="2"><title>{escape(told)}</title></circle>'
        )
    label = f"{name} against gestational age"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
    )
