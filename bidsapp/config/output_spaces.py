"""The templates of ``--output-spaces``, and answers to the spaces of other programs that are no templates."""

from __future__ import annotations

from collections.abc import Iterable

from ...models.errors import UsageError
from ...models.templates import spaces

DEFAULT = (spaces.DEFAULT,)
"""Templates if none are named."""

NATIVE = ("anat", "native", "individual", "session", "T1w", "T2w")
"""Names of the space of the image, in which results are always written."""

ABSENT = {
    **dict.fromkeys(("fsaverage", "fsnative", "fsLR", "onavg"), "surfaces are not computed"),
    **dict.fromkeys(("func", "bold", "boldref", "sbref", "run"), "functional images are not processed"),
    **dict.fromkeys(("dwi", "b0"), "diffusion images are not processed"),
    "asl": "perfusion images are not processed",
    "petref": "PET images are not processed",
}
"""Spaces of other programs without results here, and why."""


def choose(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the templates, each once, and notes on the other names.

    Parameters
    ----------
    texts : iterable of str
        Arguments of ``--output-spaces``.

    Returns
    -------
    templates : tuple of str
        The templates; the default one if only native spaces are named.
    notes : tuple of str
        What the user is told.

    Raises
    ------
    UsageError
        If a space has no results here, or two templates have the same file names.

    Examples
    --------
    >>> choose(["anat", "MNIInfant:cohort-02"])[0]
    ('MNIInfant:cohort-2',)
    """
    words = [str(text).rstrip(":") for text in texts]
    native = [text for text in words if text.partition(":")[0] in NATIVE]
    if modified := [text for text in native if ":" in text]:
        reason = f"--output-spaces {modified[0]}: the space of the image has no cohort or resolution"
        raise UsageError(None, reason, f"Write {modified[0].partition(':')[0]}")
    for text in words:
        if why := ABSENT.get(text.partition(":")[0].rstrip("3456")):  # fsaverage5
            reason = f"--output-spaces {text}: {why}"
            raise UsageError(None, reason, "Leave it out; spaces here are templates of volumes")
    found = [space for text in words if text not in native for space in spaces.expand(text)]
    _check_names(found)
    templates = tuple(dict.fromkeys(map(str, found))) or DEFAULT
    if not native:
        return templates, ()
    note = f"--output-spaces {' '.join(native)}: results in the space of the image are always written"
    return templates, (note if found else f"{note}; the template is {templates[0]}",)


def _check_names(found: list[spaces.Space]) -> None:
    """Check that no two templates have the same file names."""
    names: dict[str, str] = {}
    for space in found:
        if names.setdefault(space.entities, str(space)) != str(space):
            reason = f"--output-spaces {names[space.entities]} and {space}: results would have the same names"
            raise UsageError(None, reason, "Give NAME=PATH another NAME")
        if names.setdefault(space.label, str(space)) != str(space):
            raise UsageError(
                None, f"--output-spaces {space}: one resolution of a template suffices", "Name one of them"
            )
