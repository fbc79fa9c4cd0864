"""Environment variables that libraries read when they are imported."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path


def quiet_environment() -> None:
    """Keep libraries from sending usage data, opening windows and indexing templates.

    It must run before Nipype, matplotlib and TemplateFlow are imported.
    """
    if sys.flags.ignore_environment:
        # Where Python ignores the host's modules, as in the container, programs that it starts do too.
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"):
            os.environ.pop(name, None)
    try:
        Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd, as in a container; libraries would fail
        os.environ["HOME"] = tempfile.gettempdir()
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    if "MPLCONFIGDIR" not in os.environ and not _writable_home():
        # Else every process that imports matplotlib warns on the terminal.
        with suppress(OSError):
            os.environ["MPLCONFIGDIR"] = str(_temporary("matplotlib"))
    if "TEMPLATEFLOW_HOME" in os.environ:
        return
    # With an empty home every process would unpack and index thousands of templates not needed here.
    with suppress(OSError):
        home = _temporary("templateflow")
        (home / ".no-templates-needed").touch()
        os.environ["TEMPLATEFLOW_HOME"] = str(home)


def _temporary(name: str) -> Path:
    """Return a temporary folder of this user for a library."""
    folder = Path(tempfile.gettempdir()) / f"brainseg-{name}-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # somebody else's
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    return folder


def _writable_home() -> bool:
    """Return whether matplotlib can write its folder in the home of the user."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "matplotlib"
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return os.access(folder, os.W_OK)
