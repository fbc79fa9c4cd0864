"""The file of ``--nipype-plugin-file``: the name of a Nipype plugin and its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...models.errors import UsageError

EXAMPLE = "Such as: {plugin: SLURM, plugin_args: {sbatch_args: --mem=8G}}"


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the name and the arguments of a Nipype plugin from a YAML or JSON file.

    Raises
    ------
    UsageError
        If the file cannot be read or names no plugin.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"the plugin file cannot be read ({error.strerror})"
        raise UsageError(path, reason, "Check the path") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = f"it is not valid YAML ({' '.join(str(error).split())[:120]})"
        raise UsageError(path, reason, EXAMPLE) from None
    name = content.get("plugin") if isinstance(content, dict) else None
    arguments = content.get("plugin_args") or {} if isinstance(content, dict) else {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UsageError(path, "it does not name a plugin and its arguments", EXAMPLE)
    return name, arguments
