"""Files shipped with the program: label tables, population records, atlases, norms, templates and weights."""

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files(__package__)))
"""Folder of the shipped files."""
