"""What several tests share: stand-ins for the science, datasets, a browser."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
WATCH = TESTS / "watch"
