"""The reference image of a session: a whole head without contrast agent, for fetuses the reconstruction."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...models.io import images
from ...models.population import populations
from ...models.population.populations import WEEKS, Population
from ...models.preprocessing.thick_slices import too_coarse
from .index import Image
from .participants import Person
from .population import reconstruction

Weak = dict[Path, tuple[int, str]]
"""Images that are worse references than their name order says: rank (a higher one is worse), and why."""

ENHANCED, PARTIAL = 1, 2
"""Ranks of images with contrast agent, and of those of a part of the head."""

AGENT = re.compile(r"(?<!pre)gad|(^|post|\d)gd$|^ce$|^post$|(post|with)contrast|contrastenhanced")
PART = re.compile(
    r"locali[sz]er|scout|survey|^(\w*plane)?loc$|hippo|^hc$|slab|spin(e|al)|cervical|(?<!head)neck|orbit|pituit|"
    r"sella|brainstem|carotid|cochlea|^iac|^tof$"
)
"""What acquisitions with contrast agent, or of a part of the head, are called."""

WHOLE_MM = 90.0
"""Smallest side (mm) of a field of view that can hold a brain after birth."""

THICK_MM, THICKER = 3.0, 1.5
"""Slices (mm) that are no better than a scan with contrast agent, if they are that many times as thick."""


def deciding(group: list[Image], person: Person) -> Image:
    """Return the image that decides the population: a reconstruction, or else the first image.

    Parameters
    ----------
    group : list of Image
        The images of a session, in order of preference.
    person : Person
        Without a gestational age in the tables, only a reconstruction of the preferred contrast counts:
        an adult with a T1w image may have another kind of reconstruction.
    """
    every = person.weeks is not None
    found = (i for i in group if (every or i.suffix == group[0].suffix) and _is_reconstruction(i))
    return next(found, group[0])


def ordered(group: list[Image], record: Population, every: bool = False) -> tuple[list[Image], Weak]:
    """Return the images in the order of preference of a population, and which of them are weak references.

    Acquisitions with contrast agent and those of a part of the head come last, by their names and, from the
    headers, by their fields of view.

    Parameters
    ----------
    group : list of Image
        In the order of preference of all populations.
    record : Population
        If it has reconstructions, they come before stacks, and T2w before other contrasts.
    every : bool
        Whether to read all headers, not only until there is a whole head.
    """
    weak = {image.path: found for image in group if (found := _by_name(image))}
    if len(group) > 1:
        _add_thick(group, weak)
        group = sorted(group, key=lambda image: _weakness(image, weak))
        if record.reconstructions:
            group = sorted(group, key=_rank(record))
        for image in group if record.age_unit != WEEKS else ():
            if _weakness(image, weak) < PARTIAL and (side := _narrow(image)):
                weak[image.path] = PARTIAL, f"its field of view is only {side:.0f} mm wide"
            elif not every:
                break
        if record.age_unit != WEEKS:
            group = sorted(group, key=lambda image: _weakness(image, weak))
    return group, weak


def alike(first: Image, group: list[Image], record: Population, weak: Weak) -> list[Image]:
    """Return the images that can be averaged with the first: same contrast, reconstructions or stacks.

    Images with contrast agent or of a part of the head are not averaged with others.
    """
    same = [image for image in group if image.suffix == first.suffix]
    same = [image for image in same if _weakness(image, weak) == _weakness(first, weak)]
    if not record.reconstructions or len(same) < 2:
        return same
    rank = _rank(record)
    return [image for image in same if rank(image) == rank(first)]


def why(first: Image, group: list[Image], weak: Weak) -> str:
    """Return why an image is the reference, in words.

    Parameters
    ----------
    first : Image
        The reference.
    group : list of Image
        All images of the participant-session.
    weak : dict
        Weak references, from :func:`ordered`.
    """
    if len(group) < 2:
        return "the only image"
    rivals = [image for image in group if _weakness(image, weak) == _weakness(first, weak)]
    same = [image for image in rivals if image.suffix == first.suffix]
    best = f"the first {first.suffix} of {len(same)} by name" if len(same) > 1 else f"the only {first.suffix}"
    others = list(dict.fromkeys(image.suffix for image in rivals if image.suffix != first.suffix))
    words = best + (f", which is preferred to {', '.join(others)}" if others else "")
    return words + ("" if len(rivals) == len(group) else f", before {len(group) - len(rivals)} of lower rank")


def warning(first: Image, before: list[Image], weak: Weak) -> str | None:
    """Return a note if the reference is weak, or another image was passed over for being weak.

    Parameters
    ----------
    first : Image
        The reference.
    before : list of Image
        The images in the order of their contrasts and names.
    weak : dict
        Weak references, from :func:`ordered`.
    """
    if first.path in weak:
        none = "and there is no better image" if len(before) > 1 else "and there is no other image"
        return (
            f"{first.path.name} is the reference, although {weak[first.path][1]}, {none}: check the results."
        )
    passed = [image for image in before[: before.index(first)] if image.path in weak]
    if not passed:
        return None
    said = "; ".join(f"not {image.path.name}: {weak[image.path][1]}" for image in passed)
    return f"{first.path.name} is the reference, {said} (choose with --bids-filter-file)."


def note(first: Image, others: list[Image], record: Population) -> str | None:
    """Return a note on other reconstructions of a fetal scan; None if there are none.

    Parameters
    ----------
    first : Image
        The reference.
    others : list of Image
        Images that are not used.
    record : Population
        Population of the participant-session.
    """
    left = [image.path.name for image in others if _is_reconstruction(image)]
    if not left or not record.reconstructions:
        return None
    return f"{first.path.name} was used; not used: {', '.join(left)} (choose with --bids-filter-file)."


def doubt(group: list[Image], person: Person, record: Population) -> str | None:
    """Return a note if only another image of the session may be fetal; None otherwise."""
    if record.reconstructions or person.age is not None or person.weeks is not None:
        return None
    found = next((image.path.name for image in group if _is_reconstruction(image)), None)
    if found is None:
        return None
    return f"{found} may be a reconstruction of fetal stacks; if so, use --population fetal."


def _rank(record: Population) -> Callable[[Image], tuple[bool, bool, bool]]:
    return lambda image: (
        too_coarse(image.path, record) is not None,
        not _is_reconstruction(image),
        image.suffix != "T2w",
    )


def _is_reconstruction(image: Image) -> bool:
    return populations.by_reconstruction(reconstruction(image.path)) is not None


def _weakness(image: Image, weak: Weak) -> int:
    return weak.get(image.path, (0, ""))[0]


def _by_name(image: Image) -> tuple[int, str] | None:
    """Return rank and reason of an image whose name says that it is a weak reference."""
    agent = str(image.entities.get("ceagent") or "")
    labels = [str(image.entities.get(name) or "").lower() for name in ("acquisition", "reconstruction")]
    if any(PART.search(label) for label in labels):
        return PARTIAL, "its name says that it shows a part of the head"
    if (agent and agent.lower() not in ("none", "no", "pre")) or any(AGENT.search(label) for label in labels):
        return ENHANCED, "its name says that it was made with a contrast agent"
    return None


def _add_thick(group: list[Image], weak: Weak) -> None:
    """Add images with thick slices to the weak ones, if there is one with contrast agent and thin slices."""
    enhanced = [image for image in group if _weakness(image, weak) == ENHANCED]
    thin = min((_longest(image) for image in enhanced), default=0.0)
    for image in group if thin else ():
        if image.path not in weak and (mm := _longest(image)) >= max(THICK_MM, THICKER * thin):
            weak[image.path] = ENHANCED, f"its slices are {mm:.2g} mm thick"


def _longest(image: Image) -> float:
    """Return the longest side of a voxel (mm); 0 if the header cannot be read."""
    try:
        return max(images.voxel_size(image.path))
    except Exception:  # conform reports what is wrong with it
        return 0.0


def _narrow(image: Image) -> float | None:
    """Return the shortest side of a field of view (mm) that cannot hold a brain; None if it can."""
    try:
        found = images.open_image(image.path)
        sides = np.linalg.norm(found.affine[:3, :3], axis=0) * found.shape[:3]
    except Exception:  # conform reports what is wrong with it
        return None
    return float(sides.min()) if 0 < sides.min() < WHOLE_MM else None
