"""``brainseg models``: list, show, verify and add networks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...models.data import model_files, user
from ...models.errors import MissingFileError, UsageError
from ...models.networks import purpose, zoo


def run(args: argparse.Namespace) -> int:
    """List, show or verify the installed networks, or add one; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg models``.

    Raises
    ------
    MissingFileError
        If a network is not installed or damaged.
    """
    if args.action == "add":
        return _add(args.name)
    names = [args.name] if args.name else zoo.installed()
    if not names:
        raise MissingFileError(
            None, "no networks are installed", "Install brainseg-bids again; the networks come with it"
        )
    bad = 0
    for name in names:
        try:
            card = zoo.load(name).card if args.action == "verify" else zoo.read_card(name)
        except zoo.ModelError as error:
            if args.action != "verify":
                raise MissingFileError(None, str(error), "See brainseg models list") from None
            bad += 1
            print(f"{name}: BAD: {error}")
            continue
        if args.action == "show":
            print(json.dumps(card, indent=2, ensure_ascii=False))
        elif args.action == "verify":
            print(f"{name}: good ({card['sha256'][:12]})")
        else:
            size = zoo.path_of(name).stat().st_size / 1e6
            labels = [f"labels {card['label_table']}"] if card.get("label_table") else []  # a mask has none
            kind, license_ = purpose.kind_of(card), f"license {card.get('license', 'not stated')}"
            about = "  ".join([f"{size:5.1f} MB", model_files.voxels(card), *labels, kind, license_])
            print(f"{name:<14} {about}{_where(model_files.path_of(name))}")
    if args.action == "list" and not args.name:
        _list_others()
    return MissingFileError.exit_code if bad else 0


def _where(path: Path) -> str:
    """Return the folder of a network of the user in words; empty for shipped ones."""
    return "" if user.is_shipped(path) else f"  yours, in {path.parent}"


def _list_others() -> None:
    """Print the user's label tables and populations, and where files of the user are looked for."""
    for kind, ending, word in (("labels", ".tsv", "label table"), ("populations", ".toml", "population")):
        for name, path in user.every(kind, ending).items():
            if not user.is_shipped(path):
                print(f"{word} {name}{_where(path)}")
    print(f"Your own are looked for in {', '.join(map(str, user.folders()))}")


def _add(name: str | None) -> int:
    """Add a network to the user's own."""
    if name is None or not name.endswith(".safetensors"):
        remedy = "Give a .safetensors file; its model card (.json) must be in the same folder"
        raise UsageError(name, "models add needs a file of weights", remedy)
    try:
        print(f"{zoo.add(Path(name))}: added; use it by its name")
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "Get the weights and their model card again") from None
    return 0
