"""What the cards of a population's networks say: restrictions on use, and label tables."""

from __future__ import annotations

from typing import Any

from ..data import model_files
from .populations import Population


def restricted(record: Population, *steps: str) -> str | None:
    """Return the restrictions on use in the licenses of a population's networks; None without any.

    Parameters
    ----------
    record : Population
        The population.
    steps : str
        Fields of further networks, such as ``lesion``.
    """
    found: list[str] = []
    more: list[str] = []
    further = [getattr(record, step) for step in steps]
    for name in dict.fromkeys((*record.masking, record.segmentation, record.own_labels, *further)):
        terms = _card(name).get("license", "")
        if "research use" in terms.lower():
            (more if name in further else found).append(terms)
    words = [f"The networks for {record.name} brains: {'; '.join(dict.fromkeys(found))}."] if found else []
    words += [f"The networks for lesions: {'; '.join(dict.fromkeys(more))}."] if more else []
    return " ".join(words) or None


def finer_tables(record: Population) -> dict[str, str]:
    """Return the finer label tables that a population's network predicts.

    Parameters
    ----------
    record : Population
        The population.

    Returns
    -------
    dict of str to str
        Label tables by optional step.
    """
    table = _card(record.segmentation).get("label_table")
    return {step: finer for step, finer in record.parts.items() if finer == table}


def _card(name: str) -> dict[str, Any]:
    """Return the model card of weights; empty if there is none."""
    try:
        return model_files.read_card(name) if name else {}
    except model_files.ModelError:
        return {}
