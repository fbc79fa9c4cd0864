"""The page for users of other systems: every command is one that this program takes.

``test_coming_from_runs.py`` runs them on tiny data.
"""

import re
import shlex

import pytest

from brainseg.bidsapp.cli import bids, main
from brainseg.bidsapp.tools import recipes
from brainseg.training.kinds import registry
from helpers.coming_from import BLOCKS, LINES, PAGE


def test_every_system_has_its_commands_and_every_number_its_line():
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(parts) == len(BLOCKS) == 5
    for part in parts:
        table, _, block = part.partition("```bash")
        numbered = set(re.findall(r"# (\(\d+\))", block))
        assert len(numbered) == block.count("brainseg")
        assert numbered == set(re.findall(r"\(\d+\)", table))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.rpartition("# ")[0][:60])
def test_a_command_is_parsed(line):
    words = shlex.split(line, comments=True)
    program, words = words[0], words[1:]
    if program == "brainseg-bids":
        bids.parser().parse_args(words)
        return
    assert program == "brainseg"
    name = " ".join(words[:2]) if " ".join(words[:2]) in main.COMMANDS else words[0]
    args = main._parser(name).parse_intermixed_args(words[len(name.split()) :])
    assert main.COMMANDS[name].resolve()
    if name == "train":
        changes = recipes.changes(args.changes)
        if str(changes.get("start")).endswith(".safetensors"):
            del changes["start"]  # made by the line before
        if args.recipe == "ibsr18-patches" or "network" in changes:
            pytest.importorskip("monai")
        registry.read(args.recipe, changes)
