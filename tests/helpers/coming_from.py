"""The commands of ``docs/coming-from.md`` by system and number."""

from __future__ import annotations

import re
import shlex

from . import ROOT

PAGE = (ROOT / "docs" / "coming-from.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def commands(system: str) -> dict[int, list[str]]:
    """Return the words of every command of a system by its number.

    Parameters
    ----------
    system : str
        Beginning of the title of its section.
    """
    part = next(one for one in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if one.startswith(system))
    found = re.findall(r"^(brainseg.*?)\s*# \((\d+)\)$", part, re.MULTILINE)
    return {int(number): shlex.split(line) for line, number in found}
