"""``brainseg models``: the networks that are installed, and what their cards say."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...models.errors import MissingFileError, UsageError
from .bids import Parser


def describe(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=("list", "show", "verify", "add"))
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="one of them, or a .safetensors file (default: all)"
    )


def models(given: argparse.Namespace) -> int:
    """The networks that are installed, what their cards say, whether their files are whole; adding one."""
    from ...models.networks import zoo

    if given.action == "add":
        return _add(given.name)
    names = [given.name] if given.name else zoo.installed()
    if not names:
        raise MissingFileError(
            None, "no networks are installed", "Install the program again; they come with it"
        )
    bad = 0
    for name in names:
        try:
            card = zoo.load(name).card if given.action == "verify" else zoo.read_card(name)
        except zoo.ModelError as error:
            if given.action != "verify":
                raise MissingFileError(None, str(error), "See brainseg models list") from None
            bad += 1
            print(f"{name}: BAD: {error}")
            continue
        if given.action == "show":
            print(json.dumps(card, indent=2, ensure_ascii=False))
        elif given.action == "verify":
            print(f"{name}: good ({card['sha256'][:12]})")
        else:
            size = zoo.path_of(name).stat().st_size / 1e6
            about = f"{size:5.1f} MB  {card.get('spacing', '?')} mm  labels {card.get('label_table', '?')}"
            print(f"{card.get('name', name):<14} {about}  licence {card.get('licence', '?')}")
    return MissingFileError.exit_code if bad else 0


def _add(name: str | None) -> int:
    from ...models.networks import zoo

    if name is None or not name.endswith(".safetensors"):
        raise UsageError(
            name, "models add takes weights", "Give a .safetensors file; its card lies beside it"
        )
    try:
        print(f"{zoo.add(Path(name))}: added; use it by its name")
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "Fetch weights and card again") from None
    return 0
