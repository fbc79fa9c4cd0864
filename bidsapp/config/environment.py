"""Environment variables that libraries read when they are imported."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def quiet_environment() -> None:
    """Keep libraries from sending usage data, opening windows and indexing templates.

    It must run before Nipype, matplotlib and TemplateFlow are imported.
    """
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    if "TEMPLATEFLOW_HOME" in os.environ:
        return
    # With an empty home every process would unpack and index thousands of templates not needed here.
    home = Path(tempfile.gettempdir()) / f"brainseg-templateflow-{os.getuid()}"
    with suppress(OSError):
        home.mkdir(exist_ok=True)
        (home / ".no-templates-needed").touch()
        os.environ["TEMPLATEFLOW_HOME"] = str(home)
