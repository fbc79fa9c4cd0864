"""The reference image of a session: of fetal scans the reconstruction, not its stacks."""

from __future__ import annotations

from collections.abc import Callable

from ...models.population import populations
from ...models.population.populations import Population
from ...models.preprocessing.thick_slices import too_coarse
from .index import Image
from .participants import Person
from .population import reconstruction


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


def ordered(group: list[Image], record: Population) -> list[Image]:
    """Return the images in the order of preference of a population.

    Parameters
    ----------
    group : list of Image
        In the order of preference of all populations.
    record : Population
        If it has reconstructions, they come before stacks, and T2w before other contrasts.
    """
    return sorted(group, key=_rank(record)) if record.reconstructions and len(group) > 1 else group


def alike(first: Image, group: list[Image], record: Population) -> list[Image]:
    """Return the images that can be averaged with the first: same contrast, reconstructions or stacks."""
    same = [image for image in group if image.suffix == first.suffix]
    if not record.reconstructions or len(same) < 2:
        return same
    rank = _rank(record)
    return [image for image in same if rank(image) == rank(first)]


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
