"""MP2RAGE UNI images among the images of a session."""

from __future__ import annotations

from ..config.imports import resolve
from .index import Image

USABLE = "brainseg.models.preprocessing.mp2rage:usable"
"""The function that looks at the background of an image; few studies have such images."""

NOISE = "no head stands out from its background, which is noise over the whole range (MP2RAGE)"
"""Why a UNI image is not used."""


def usable_first(group: list[Image], notes: list[str]) -> list[Image]:
    """Return the images with a leading UNI image last if its background cannot be made dark.

    Parameters
    ----------
    group : list of Image
        In the order of preference. Voxels are read only if the first is a UNI image with an alternative.
    notes : list of str
        A note is appended if the order changes.
    """
    first = group[0]
    others = [image for image in group[1:] if image.suffix != first.suffix]
    if first.suffix != "UNIT1" or not others or resolve(USABLE)(first.path):
        return group
    notes.append(f"{others[0].path.name} was used, not {first.path.name}: {NOISE}.")
    return [*others, *(image for image in group if image.suffix == first.suffix)]
