"""Print the Boutiques descriptor of ``brainseg-bids``, made from its parser.

``python container/boutiques.py [IMAGE]`` prints JSON; with an image it names it as the container.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from brainseg.bidsapp import __version__
from brainseg.bidsapp.cli.bids_options import DESCRIPTION, parser
from brainseg.bidsapp.config.settings import LEVELS

JOBS = ("write_job", "image", "per_task", "max_array", "only_failed")
NOT_INPUTS = ("help", "version", "completion", "dry_run", *JOBS)
"""Options that compute nothing, or write scripts for other engines."""


def descriptor(image: str = "") -> dict[str, Any]:
    """Return the descriptor.

    Parameters
    ----------
    image : str
        Container image, such as ``docker://brainseg-bids``; empty if there is none.
    """
    actions = [action for action in parser().arguments if action.dest not in NOT_INPUTS]
    inputs = [_input(action) for action in actions]
    order = [*(i["value-key"] for i in inputs if "command-line-flag" not in i)]
    order += [i["value-key"] for i in inputs if "command-line-flag" in i]
    out: dict[str, Any] = {
        "name": "brainseg-bids",
        "description": " ".join(DESCRIPTION.split()),
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join(["brainseg-bids", *order]),
        "inputs": inputs,
        "output-files": [
            {
                "id": "output_dir_out",
                "name": "Derivatives",
                "description": "Root of the derivatives",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "tags": {"domain": ["neuroinformatics", "mri"]},
    }
    if image:
        out["container-image"] = {"type": "docker" if "docker" in image else "singularity", "image": image}
    return out


def _input(action: argparse.Action) -> dict[str, Any]:
    """Return one argument as an input."""
    flag = action.option_strings[0 if isinstance(action, argparse.BooleanOptionalAction) else -1 :][:1]
    folder = action.dest in ("bids_dir",)
    kind = "File" if folder else "String"
    if isinstance(action, argparse.BooleanOptionalAction) or (flag and action.nargs == 0):
        kind = "Flag"
    elif action.type is int:
        kind = "Number"
    out: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "description": str(action.help).replace("%%", "%"),
        "type": kind,
        "optional": bool(action.option_strings),
        "value-key": f"[{action.dest.upper()}]",
    }
    if flag:
        out["command-line-flag"] = flag[0]
    if kind == "Number":
        out["integer"] = True
    if action.dest == "analysis_level":
        out["value-choices"] = list(LEVELS)
    elif action.choices and kind == "String":
        out["value-choices"] = list(action.choices)
    if action.nargs in ("+", "*"):
        out |= {"list": True, "list-separator": " "}
    return out


if __name__ == "__main__":
    print(json.dumps(descriptor(*sys.argv[1:2]), indent=2, ensure_ascii=False))
