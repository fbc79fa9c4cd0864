"""Model cards of the user's networks, kept with the derivatives: their files may be gone later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...models.data import model_files
from ...models.io import atomic
from ..config.settings import Settings


def keep(settings: Settings, out_dir: Path) -> None:
    """Write the cards of the networks of ``--network`` into the logs of the derivatives."""
    for name in settings.networks.values():
        card = model_files.read_card(name)
        path = _path(out_dir, str(card.get("sha256")))
        if not path.is_file():
            atomic.write_text(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def kept(out_dir: Path, chosen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the cards of the networks that a participant-session used, by step.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    chosen : dict
        Settings in the status file; ``network`` has name and SHA-256 of each network by step.
    """
    found = {}
    named = chosen.get("network")
    for step, text in named.items() if isinstance(named, dict) else ():
        name, _, digest = str(text).rpartition(" ")
        try:
            card = json.loads(_path(out_dir, digest).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            card = {}
        found[str(step)] = card if isinstance(card, dict) and card else {"name": name, "sha256": digest}
    return found


def _path(out_dir: Path, digest: str) -> Path:
    safe = "".join(letter for letter in digest if letter.isalnum())[:16]
    return out_dir / "logs" / "networks" / f"{safe or 'unknown'}.json"
