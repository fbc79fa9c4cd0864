"""Cohorts of templates in folders: their labels and gestational ages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError

WEEKS = 14.0, 46.0
"""Plausible gestational age (weeks) of a cohort; other labels are mere numbers."""

COHORT = re.compile(r"(?:tpl-[A-Za-z0-9]+_)?cohort-([A-Za-z0-9]+)(?:_.*)?")


def identifier(folder: Path, name: str) -> str:
    """Return the template of a user's folder: ``name``, or the only one in it.

    Raises
    ------
    UsageError
        If it has none, or several others.
    """
    files = [*folder.glob("tpl-*"), *folder.glob("cohort-*/tpl-*")]
    found = {m[1] for path in files if (m := re.match(r"tpl-([A-Za-z0-9]+)_", path.name))}
    if name in found:
        return name
    if len(found) == 1:
        return found.pop()
    if found:
        reason = f"it has several templates ({', '.join(sorted(found))}), but not {name}"
        raise UsageError(folder, reason, "Use one of these names in NAME=FOLDER")
    raise UsageError(
        folder,
        f"--output-spaces {name}: it has no template files",
        "Name them as TemplateFlow does, such as cohort-28/tpl-NAME_cohort-28_T2w.nii.gz",
    )


def labels(folder: Path, name: str) -> list[str]:
    """Return the labels of a template's cohorts in its folder, in subfolders or not.

    Numbers come first, in ascending order.
    """
    paths = [*folder.glob("cohort-*"), *folder.glob(f"tpl-{name}_cohort-*")]
    found = {m[1].lstrip("0") or "0" for path in paths if (m := COHORT.fullmatch(path.name))}
    return sorted(found, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label))


def weeks(folder: Path, names: list[str]) -> dict[str, float]:
    """Return the gestational age (weeks) of each cohort.

    The age is that in ``template_description.json``, else the number in the label. Cohorts without a
    gestational age are omitted; all are if the description uses another age, such as months.

    Raises
    ------
    InputError
        If the description is unreadable.
    """
    described = _described(folder / "template_description.json")
    found = {}
    for name in names:
        about = described.get(name)
        age = _age(about) if isinstance(about, dict) and "age" in about else _number(name)
        if age is not None and WEEKS[0] <= age <= WEEKS[1]:
            found[name] = age
    return found


def _described(path: Path) -> dict[str, Any]:
    # TemplateFlow's skeleton may hold the file without content.
    if not path.is_file() or not path.stat().st_size:
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(path, f"it cannot be read ({error})", "Correct it, or name a cohort") from None
    found = content.get("cohort") if isinstance(content, dict) else None
    return {str(k).lstrip("0"): v for k, v in found.items()} if isinstance(found, dict) else {}


def _age(about: dict[str, Any]) -> float | None:
    """Return the age (weeks) in a cohort's description, the mean of a range; None in other units."""
    ages = about["age"] if isinstance(about["age"], list) else [about["age"]]
    numbers = [age for age in map(_number, ages) if age is not None]
    unit = str(about.get("units") or about.get("unit") or "weeks").lower()
    if not numbers or not ("week" in unit or "day" in unit):
        return None
    return sum(numbers) / len(numbers) / (7 if "day" in unit else 1)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
