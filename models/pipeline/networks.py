"""A population's record with networks of the user in place of its own, checked by their cards alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..data import model_files
from ..errors import UsageError
from ..networks import purpose
from ..population import populations
from ..population.populations import Population

FIELDS = {"lesion": "lesion", "hippocampus": "hippocampus", "registration": "velocity"}
"""Fields of a record by step, where the network alone changes."""

MASK_TEXT = (
    "The brain was extracted by a network of the user's on voxels of {voxels}, in the box of the brain that "
    "a network at {coarse} mm found. {auto}Training data: {training_data}. "
)


def with_networks(record: Population, networks: Mapping[str, str]) -> Population:
    """Return a population's record with other networks.

    Parameters
    ----------
    record : Population
        The population.
    networks : mapping of str to str
        Installed names or ``.safetensors`` files by step, a key of
        :data:`brainseg.models.population.steps.NETWORK_STEPS`.

    Raises
    ------
    ModelError
        If a network is missing or damaged.
    UsageError
        If a network is for something else.
    """
    for step, name in networks.items():
        card = model_files.verified(name)
        if step == "segmentation":
            record = _with_segmentation(record, name, card)
        elif step == "skullstrip":
            record = _with_skullstrip(record, name, card)
        else:
            purpose.check(name, step)
            field = FIELDS[step]
            if not getattr(record, field):
                raise UsageError(
                    name, f"{record.name} brains have no step {step}", f"Leave {step}= out of --network"
                )
            changes: dict[str, Any] = {field: name}
            record = replace(record, **changes)
    return record


@lru_cache(maxsize=32)
def _cached(population: str, networks: tuple[tuple[str, str], ...]) -> Population:
    return with_networks(populations.load(population), dict(networks))


def record_of(population: str, networks: Mapping[str, str] | None = None) -> Population:
    """Return the record of a population by name, with other networks; see :func:`with_networks`."""
    return _cached(population, tuple(sorted((networks or {}).items())))


def _with_segmentation(record: Population, name: str, card: Mapping[str, Any]) -> Population:
    """Return the record with another network of structures, or with one of own labels beside it."""
    if purpose.purpose_of(card) == "labels":
        purpose.check(name, "labels")
        if coarse := card.get("coarse"):
            purpose.check(coarse, "localization")
        return replace(record, own_labels=name)
    upright = record.methods["segmentation"].method == "atlas-frame"
    try:
        purpose.check(name, "upright segmentation" if upright else "segmentation")
    except UsageError as error:
        reason = f"the network does not fit the segmentation of {record.name} brains: {error.reason}"
        raise UsageError(name, reason, error.remedy) from None
    tables = (record.labels, *record.parts.values())
    if (table := card.get("label_table")) not in tables:
        reason = f"its label table {table} is not that of {record.name} brains ({', '.join(tables)})"
        raise UsageError(name, reason, "Choose another network, or another --population")
    coarse = card.get("coarse") or record.coarse
    purpose.check(coarse, "pose" if upright else "localization")
    if finer := card.get("finer"):
        purpose.check(finer, "segmentation")
    return replace(record, segmentation=name, coarse=coarse)


def _with_skullstrip(record: Population, name: str, card: Mapping[str, Any]) -> Population:
    """Return the record with another network of the brain mask, for all contrasts."""
    found = purpose.purpose_of(card)
    if record.methods["skullstrip"].method != "signed-distance":
        reason = f"{record.name} brains have no network of their own for the mask"
        raise UsageError(name, reason, "Leave skullstrip= out of --network")
    if found == "t1w mask":
        return replace(record, t1w_mask=name)
    purpose.check(name, "skullstrip")
    method = record.methods["skullstrip"]
    if purpose.kind_of(card) == purpose.SUPERVISED:
        method = replace(method, text=MASK_TEXT)
    return replace(record, skullstrip=name, t1w_mask="", methods=record.methods | {"skullstrip": method})
