"""Pages that stand alone: styles and scripts are written into them, and nothing outside is asked for."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from ...models.io.atomic import write_text
from .. import __version__
from .derivatives import number

STATE_WORDS = {
    "done": "Done",
    "failed": "Failed",
    "running": "Not finished",
    "skipped": "Skipped",
    "missing": "Nothing there",
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
    """Text of one of our style sheets or scripts."""
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def write(path: Path, template: str, *, script: str, **context: Any) -> Path:
    """Render a template and write the page.

    Parameters
    ----------
    path
        Where to.
    template
        Name of the template.
    script
        Name of the script to put into the page.
    **context
        What the template shows. Every text in it is escaped.
    """
    code = asset("common.js") + asset(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(asset("style.css")),
            script=Markup(code),
            # The browser itself refuses any request to the outside and any script but ours.
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
    """A volume in mm3 as text in mL that the page's script can show in mm3 too.

    Examples
    --------
    >>> str(volume(1234.5))
    '<data class="volume" value="1234.5">1.23 mL</data>'
    >>> str(volume(None))
    '–'
    """
    found = number(value)
    if found is None:
        return Markup("–")
    millilitres = found / 1000
    digits = 0 if millilitres >= 100 else 1 if millilitres >= 10 else 2
    return Markup('<data class="volume" value="{}">{} {}</data>').format(
        f"{found:.1f}", f"{millilitres:,.{digits}f}", unit
    )


def signed(value: Any, digits: int = 1) -> str:
    """A number with its sign, a real minus among them.

    Examples
    --------
    >>> signed(-2.34), signed(1), signed(None)
    ('−2.3', '+1.0', '–')
    """
    found = number(value)
    return "–" if found is None else f"{found:+.{digits}f}".replace("-", "−")


def markdown(text: str) -> Markup:
    """Markdown as HTML; tags in it are shown, not obeyed, and pictures are not fetched.

    DOIs become links.
    """
    text = re.sub(r"doi:(10\.[^\s<>()\[\]]*[\w/])", r"[doi:\1](https://doi.org/\1)", text)
    return Markup(MarkdownIt("commonmark", {"html": False}).disable("image").render(text))
