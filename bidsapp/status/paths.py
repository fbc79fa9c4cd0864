"""Where the status files of a study are."""

from __future__ import annotations

from pathlib import Path


def folder(out_dir: Path) -> Path:
    """Return the folder of the status files."""
    return out_dir / "logs" / "status"


def of_participant(out_dir: Path, participant: str) -> list[Path]:
    """Return the status files of the sessions of a participant, such as ``sub-01``."""
    return [*folder(out_dir).glob(f"{participant}.json"), *folder(out_dir).glob(f"{participant}_*.json")]
