"""Networks of the user (``--network``): their files are checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...models.data import model_files, user
from ...models.errors import UsageError
from ...models.population.steps import NETWORK_STEPS

OPTIONAL = ("lesion", "hippocampus")
"""Steps of the chain that are off by default; a network for one of them switches it on."""

REMEDY = "See brainseg models list, and docs/models.md for your own networks"


def choose(
    texts: Any, steps: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return networks as ``STEP=NETWORK``, the steps with those that they switch on, and notes.

    Parameters
    ----------
    texts : str or iterable of str
        Arguments of ``--network``.
    steps : tuple of str
        Words of ``--steps``.

    Raises
    ------
    UsageError
        If a step is unknown, or a network is missing or damaged.

    Examples
    --------
    >>> choose(["segmentation=segmentation", "lesion=lesion"])[:2]
    (('segmentation=segmentation', 'lesion=lesion'), ('lesion',))
    """
    chosen: dict[str, str] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        step, equals, name = str(text).partition("=")
        if not (equals and name and step in NETWORK_STEPS):
            listed = "; ".join(f"{key}: {what}" for key, what in NETWORK_STEPS.items())
            raise UsageError(None, f"--network {text} is not STEP=NETWORK", f"The steps are: {listed}")
        if chosen.setdefault(step, name) != name:
            raise UsageError(None, f"--network names two networks for {step}", "Keep one of them")
    out, notes = [], []
    for step, name in chosen.items():
        try:
            model_files.verified(name)
        except model_files.ModelError as error:
            missing = model_files.is_path(name) and not Path(name).is_file()
            remedy = "Check the path" if missing else REMEDY
            raise UsageError(None, f"--network {step}={name}: {error}", remedy) from None
        # A path, so that jobs on other machines and in containers find the user's own.
        path = model_files.path_of(name)
        out.append(f"{step}={name if user.is_shipped(path) else path.resolve()}")
        said = [word for word in steps if word.removeprefix("no-") == step]
        if step in OPTIONAL and said and said[-1].startswith("no-"):
            raise UsageError(None, f"--network names a network for {step}, which --steps switches off")
        if step in OPTIONAL and not said:
            steps = (*steps, step)
            notes.append(f"--network {step}=...: the step {step} was switched on")
    return tuple(out), steps, tuple(notes)


def digests(networks: Mapping[str, str]) -> dict[str, str]:
    """Return name and SHA-256 of networks by step, wherever their files are.

    Examples
    --------
    >>> digests({"lesion": "lesion"})["lesion"].split(" ")[0]
    'lesion'
    """
    out = {}
    for step, name in networks.items():
        card = model_files.read_card(name)
        out[step] = f"{card.get('name', model_files.title(name))} {card.get('sha256')}"
    return out
