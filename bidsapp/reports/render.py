"""Self-contained pages: styles and scripts are embedded, and nothing is loaded from the network."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from ...models.io.atomic import write_text
from .. import __version__
from .derivatives import number

STATE_WORDS = {
    "done": "Done",
    "failed": "Failed",
    "running": "Not finished",
    "skipped": "Skipped",
    "missing": "Not processed",
}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(files(__package__) / "templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"volume": volume, "signed": signed, "markdown": markdown}
    environment.globals |= {"state_words": STATE_WORDS}
    return environment


@cache
def asset(name: str) -> str:
    """Return the text of a style sheet or script of the package."""
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def write(path: Path, template: str, *, script: str, **context: Any) -> Path:
    """Render a template and write the page.

    Parameters
    ----------
    path : Path
        The page.
    template : str
        Name of the template.
    script : str
        Name of the script to embed.
    **context
        Variables of the template; every text is escaped.

    Returns
    -------
    Path
        The page.
    """
    code = asset("common.js") + asset(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(asset("style.css")),
            script=Markup(code),
            # The browser refuses requests to the network and scripts other than these.
            policy=(
                "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
                f"script-src 'sha256-{digest}' 'self' file:; base-uri 'none'; form-action 'none'"
            ),
            made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            version=__version__,
            **context,
        )
    )
    write_text(path, text)
    return path


def volume(value: Any, unit: str = "mL") -> Markup:
    """Return a volume (mm3) as text in mL; the page's script can convert it to mm3.

    Examples
    --------
    >>> str(volume(1234.5))
    '<data class="volume" value="1234.5">1.23 mL</data>'
    >>> str(volume(29))
    '<data class="volume" value="29.0">0.029 mL</data>'
    >>> str(volume(None))
    '–'
    """
    found = number(value)
    if found is None:
        return Markup("–")
    millilitres = found / 1000
    digits = 0 if millilitres >= 100 else 1 if millilitres >= 10 else 2
    if 0 < millilitres < 0.1:  # small lesions and parcels: two digits that count
        digits = 3 if millilitres >= 0.01 else 4
    words = f"{millilitres:,.{digits}f} {escape(unit)}"
    return Markup(f'<data class="volume" value="{found:.1f}">{words}</data>')


def signed(value: Any, digits: int = 1) -> str:
    """Return a number with its sign, with a typographic minus.

    Examples
    --------
    >>> signed(-2.34), signed(1), signed(None)
    ('−2.3', '+1.0', '–')
    """
    found = number(value)
    return "–" if found is None else f"{found:+.{digits}f}".replace("-", "−")


@lru_cache(maxsize=8)
def markdown(text: str) -> Markup:
    """Return Markdown as HTML with DOIs as links; HTML in it is escaped, and images are not loaded."""
    text = re.sub(r"doi:(10\.[^\s<>()\[\]]*[\w/])", r"[doi:\1](https://doi.org/\1)", text)
    return Markup(MarkdownIt("commonmark", {"html": False}).disable("image").render(text))
