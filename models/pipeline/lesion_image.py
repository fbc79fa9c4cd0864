"""The image in which lesions are segmented: which one, or why none is."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import model_files
from ..networks import purpose
from ..population.contrasts import DARK_CSF, LESION
from ..segmentation.own.inputs import specification


def trained_on(model: str) -> list[str]:
    """Return the contrasts of a network that was trained on images with labels of a user; else none.

    Parameters
    ----------
    model : str
        Weights of the network; empty if the population has none.

    Examples
    --------
    >>> trained_on("lesion")
    []
    """
    card = model_files.read_card(model) if model else {}
    return list(specification(card)["contrasts"]) if card.get("kind") == purpose.SUPERVISED else []


def skipped(contrast: str, model: str, force: bool = False, others: Sequence[str] = ()) -> str:
    """Return the reason why lesions are not segmented.

    Parameters
    ----------
    contrast : str
        Suffix of the image.
    model : str
        Weights of the network; empty if the population has none.
    force : bool
        Whether images with bright CSF are segmented, too.
    others : sequence of str
        Suffixes of the images that a network of several contrasts can have, ``contrast`` included.

    Returns
    -------
    str
        The reason, as a note; empty if the stage runs.

    Examples
    --------
    >>> skipped("FLAIR", "lesion"), skipped("T2w", "lesion", force=True)
    ('', '')
    """
    if not model:
        return "The step lesion was left out: no network for this population."
    trained = trained_on(model)
    if missing := [name for name in trained if len(trained) > 1 and name not in others]:
        return (
            f"The step lesion was left out: the network {model_files.title(model)} needs "
            f"{' and '.join(trained)}, and there is no {missing[0]} image."
        )
    if contrast in trained:
        return ""
    if contrast not in LESION:
        known = " or ".join(DARK_CSF)
        return f"The step lesion was left out: it needs a {known} image."
    if contrast not in DARK_CSF and not force:
        return (
            f"The step lesion was left out: CSF is as bright as lesions in a {contrast} image. Provide a "
            "FLAIR image; --force segments the image all the same, and the result needs correction."
        )
    return ""


def beside_csf(contrast: str, model: str) -> bool:
    """Return whether CSF is as bright as lesions in an image, and the network was not trained on such ones.

    Parameters
    ----------
    contrast : str
        Suffix of the image.
    model : str
        Weights of the network.

    Examples
    --------
    >>> beside_csf("FLAIR", "lesion"), beside_csf("T2w", "lesion")
    (False, True)
    """
    return contrast not in (*DARK_CSF, *trained_on(model))


def cautions(contrast: str, model: str) -> list[str]:
    """Return notes on the reliability of lesions in a contrast.

    Parameters
    ----------
    contrast : str
        Suffix of the image.
    model : str
        Weights of the network.

    Returns
    -------
    list of str
        Notes for the report.

    Examples
    --------
    >>> len(cautions("FLAIR", "lesion")), len(cautions("T2w", "lesion"))
    (0, 1)
    """
    trained = trained_on(model)
    if trained and contrast not in trained:
        name = model_files.title(model)
        return [
            f"The network {name} was trained on {', '.join(trained)}, and the image is {contrast}: "
            "check the lesions."
        ]
    if not beside_csf(contrast, model):
        return []
    return [
        f"Lesions in a {contrast} image are unreliable: CSF is as bright as lesions. Ventricles and sulcal "
        "CSF were excluded, with any lesions in them. Provide a FLAIR image if possible."
    ]


def shown_in(contrasts: list[str], model: str = "") -> int | None:
    """Return the position of the image that is best for the lesion stage.

    Parameters
    ----------
    contrasts : list of str
        Suffixes of the images.
    model : str
        Weights of the network; one of a user prefers the contrasts that it was trained on.

    Returns
    -------
    int or None
        Position of the image; None if no image is suitable.

    Examples
    --------
    >>> shown_in(["T1w", "T2w", "FLAIR"]), shown_in(["T1w"])
    (2, None)
    """
    trained = trained_on(model)
    preferred = [*sorted(trained, key=lambda name: name not in LESION), *LESION]
    there = [contrasts.index(name) for name in preferred if name in contrasts]
    return there[0] if there else None
