"""Methods texts of a population, filled in from its record and the model cards of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data import model_files, user
from ..networks import purpose, zoo
from ..population import labels
from ..population.contrasts import DARK_CSF
from ..population.populations import Population
from ..segmentation import lesion as lesions
from ..segmentation.own.inputs import as_acquired, sees_tissues
from ..segmentation.own.labels import has_tissues, unmirrored

FEW = 8
"""Largest number of labels that a text lists."""


def skullstrip(record: Population, mode: str = "auto") -> str:
    """Return the methods text of skull-stripping.

    Parameters
    ----------
    record : Population
        The population.
    mode : {'auto', 'skip', 'force'}
        Mode of skull-stripping; with ``skip`` no network finds the mask.

    Raises
    ------
    ModelError
        If a network is not installed.
    """
    method = record.methods["skullstrip"]
    if mode == "skip":
        return method.cases["skip"]
    active = {"auto"} & {mode} | ({"t1w"} if record.t1w_mask else set())
    text = _filled(record, "skullstrip", active, threshold=f"{method.threshold:g}")
    return text + "".join(map(_user, filter(None, (record.skullstrip, record.t1w_mask))))


def intracranial(record: Population) -> str:
    """Return the methods text of the intracranial volume; empty without a network.

    Parameters
    ----------
    record : Population
        The population.

    Raises
    ------
    ModelError
        If the network is not installed.
    """
    if not record.intracranial:
        return ""
    card, method = zoo.read_card(record.intracranial), record.methods["intracranial"]
    data = card.get("training_data") or "not stated"
    text = _substituted(method.text, method.cases, set(), spacing=card["spacing"], training_data=data)
    return text + _user(record.intracranial)


def segmentation(record: Population, label_table: str | None = None, effort: str = "fast") -> str:
    """Return the methods text of segmentation.

    Parameters
    ----------
    record : Population
        The population.
    label_table : str, optional
        Label table of the structures, if it is not the population's.
    effort : {'fast', 'accurate'}
        Effort of segmentation.

    Raises
    ------
    ModelError
        If a network is not installed.
    """
    active = {effort} | ({"atlas"} if "atlas" in zoo.read_card(record.segmentation) else set())
    structures = len(labels.load(label_table or record.labels).labels) - 1
    return _filled(record, "segmentation", active, structures=str(structures)) + _user(record.segmentation)


def deformation(record: Population, predicted: bool = False) -> str:
    """Return the methods text of the deformation by the program's own engine.

    Parameters
    ----------
    record : Population
        The population.
    predicted : bool
        Whether a network predicts its start.
    """
    method = record.methods["registration"]
    return _substituted(
        method.text, method.cases, {"predicted"} if predicted else set(), spacing=method.spacing
    )


def lesion(model: str, contrast: str) -> str:
    """Return the methods text of the lesion stage.

    Parameters
    ----------
    model : str
        Weights.
    contrast : str
        BIDS suffix of the image.

    Raises
    ------
    ModelError
        If the network is not installed.
    """
    card = zoo.read_card(model)
    if purpose.kind_of(card) == purpose.SUPERVISED:
        return (
            f"Lesions were segmented in the {contrast} image by a {card['architecture']['class']} network. "
            f"Every connected lesion of at least {lesions.SMALLEST:g} mm³ was kept. "
            f"{_data(card)}{_user(model)}"
        )
    csf = "" if contrast in DARK_CSF else f"Voxels of CSF and within {lesions.RIM:g} mm of it were excluded. "
    return (
        f"Lesions were segmented in the {contrast} image by a U-Net (Ronneberger et al., 2015, "
        f"doi:10.1007/978-3-319-24574-4_28) on axial slices with their neighbors {lesions.REACH:g} mm above "
        f"and below. Every connected lesion of at least {lesions.SMALLEST:g} mm³ was kept. {csf}"
        f"{_data(card)}{_user(model)}"
    )


def own_labels(model: str, effort: str = "fast") -> str:
    """Return the methods text of a network of own labels.

    Parameters
    ----------
    model : str
        Weights.
    effort : {'fast', 'accurate'}
        Effort of segmentation.

    Raises
    ------
    ModelError
        If the network is not installed.
    """
    card = zoo.read_card(model)
    table = labels.of_card(card)
    names = [label.name for label in table if label.index]
    seen = " in the image as acquired" if as_acquired(card) else ""
    if sees_tissues(card):
        seen += " and in the tissues of the segmentation above" if seen else " in the image and its tissues"
    both = effort == "accurate" and not unmirrored(card)
    mirrored = " The probabilities are the mean over the image and its mirror image." if both else ""
    listed = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    tissues = (
        "; the tissues (gray matter, white matter, cerebrospinal fluid) are sums of their probabilities"
        if has_tissues(table)
        else ""
    )
    return (
        f"{len(names)} further labels ({listed}) were segmented{seen} by a {card['architecture']['class']} "
        f"network{tissues}.{mirrored} {_data(card)}{_user(model)}"
    )


def _data(card: Mapping[str, Any]) -> str:
    """Return the sentence on the training data of a network; empty if they are not known."""
    return f"Training data: {card['training_data']}. " if card.get("training_data") else ""


def _user(name: str) -> str:
    """Return a sentence on a network of the user with its SHA-256; empty for shipped ones."""
    if user.is_shipped(model_files.path_of(name)):
        return ""
    digest = zoo.read_card(name).get("sha256")
    return f"The network {model_files.title(name)} is the user's own (SHA-256 {digest}). "


def hippocampus(model: str) -> str:
    """Return the methods text of the hippocampus stage.

    Parameters
    ----------
    model : str
        Weights.

    Raises
    ------
    ModelError
        If the network is not installed.
    """
    card = zoo.read_card(model)
    return (
        f"Both hippocampi were divided into an anterior and a posterior part by a convolutional network at "
        f"{card['spacing']:g} mm, in upright boxes around the segmentation's hippocampi, as the mean over "
        f"each box and its mirror image. Training data: {card['training_data']} (Antonelli et al., 2022, "
        f"doi:10.1038/s41467-022-30695-9). {_user(model)}"
    )


def _filled(record: Population, stage: str, active: set[str], **values: str) -> str:
    """Return the text of a stage with networks and the texts of its ``active`` cases."""
    method = record.methods[stage]
    coarse, fine = zoo.read_card(record.coarse), zoo.read_card(getattr(record, stage))
    data = "; ".join(dict.fromkeys(card.get("training_data") or "not stated" for card in (coarse, fine)))
    sizes = {"coarse": coarse["spacing"], "fine": fine["spacing"], "spacing": method.spacing}
    sizes["voxels"] = model_files.voxels(fine)
    return _substituted(method.text, method.cases, active, training_data=data, **sizes, **values)


def _substituted(text: str, cases: dict[str, str], active: set[str], **values: str | float) -> str:
    """Return a template with its values and the texts of its active cases."""
    words = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    words |= {case: f"{sentence.strip()} " if case in active else "" for case, sentence in cases.items()}
    return " ".join(text.format(**words).split()) + " "
