"""Sphinx: the pages of this folder, and those that ``generate.py`` makes of the code."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate

from brainseg.bidsapp import __version__

project = "brainseg-bids"
author = "The brainseg-bids developers"
copyright = "The brainseg-bids developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
included = ("derivatives", "label-files", "labels", "networks", "populations")
exclude_patterns = ["_build", *(f"generated/{name}.md" for name in included)]
html_theme = "furo"
html_title = f"brainseg-bids {version}"
html_copy_source = False
html_show_sphinx = False
nitpicky = True
suppress_warnings = ["ref.python"]
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Inputs", "Outputs"]

generate.write(HERE / "generated")
