"""Which image of a session is the reference: of fetal scans the reconstruction, not the stacks in it."""

from __future__ import annotations

from collections.abc import Callable

from ...models.population import populations
from ...models.population.populations import Population
from ...models.preprocessing.thick_slices import coarseness
from .index import Image
from .participants import Person
from .population import reconstruction


def telling(group: list[Image], person: Person) -> Image:
    """The image that tells the population: a reconstruction, or the first of all.

    Parameters
    ----------
    group : list of Image
        The images of a session, most wanted first.
    person : Person
        Without a gestational age in the tables, a reconstruction of the most wanted contrast only counts:
        beside an adult's T1w there may be one of another kind.
    """
    every = person.weeks is not None
    found = (i for i in group if (every or i.suffix == group[0].suffix) and _is_reconstruction(i))
    return next(found, group[0])


def ordered(group: list[Image], record: Population) -> list[Image]:
    """The images, most wanted first, as the population wants them.

    Parameters
    ----------
    group : list of Image
        In the order that holds for everyone.
    record : Population
        If it has reconstructions, they come before stacks, and T2w before other contrasts.
    """
    return sorted(group, key=_rank(record)) if record.reconstructions and len(group) > 1 else group


def alike(first: Image, group: list[Image], record: Population) -> list[Image]:
    """The images that can be averaged with the first: of its contrast, and no stacks with reconstructions."""
    same = [image for image in group if image.suffix == first.suffix]
    if not record.reconstructions or len(same) < 2:
        return same
    rank = _rank(record)
    return [image for image in same if rank(image) == rank(first)]


def note(first: Image, others: list[Image], record: Population) -> str | None:
    """Which other reconstructions of a fetal scan were left alone; None if there are none.

    Parameters
    ----------
    first : Image
        The reference.
    others : list of Image
        What is not used.
    record : Population
        Whose brain it was taken for.
    """
    left = [image.path.name for image in others if _is_reconstruction(image)]
    if not left or not record.reconstructions:
        return None
    return f"{first.path.name} was used; left alone: {', '.join(left)} (choose with --bids-filter-file)."


def doubt(group: list[Image], person: Person, record: Population) -> str | None:
    """A note where nothing but a further image looks fetal; None otherwise."""
    if record.reconstructions or person.age is not None or person.weeks is not None:
        return None
    found = next((image.path.name for image in group if _is_reconstruction(image)), None)
    if found is None:
        return None
    return f"{found} looks like a reconstruction of fetal stacks: if it is one, say --population fetal."


def _rank(record: Population) -> Callable[[Image], tuple[bool, bool, bool]]:
    return lambda image: (
        coarseness(image.path, record) is not None,
        not _is_reconstruction(image),
        image.suffix != "T2w",
    )


def _is_reconstruction(image: Image) -> bool:
    return populations.by_reconstruction(reconstruction(image.path)) is not None
