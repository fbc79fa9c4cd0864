"""The BIDS validator, if it is installed: its errors are reported and do not stop the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...models.io.atomic import write_text

PROGRAM = "bids-validator-deno"
TIMEOUT = 3600
FILE = "bids-validator.json"
"""Name of the file in the log folder of the run with the state and the result."""


MESSAGE = 100
"""Characters that are shown of a message of the validator."""


@dataclass
class Validation:
    """A validation that runs in the background.

    Parameters
    ----------
    dataset : Path
        Dataset to validate.
    path : Path
        File with the state and the result, which the participants' reports read.
    """

    dataset: Path
    path: Path
    found: dict[str, Any] = field(default_factory=dict)

    def start(self) -> Validation:
        """Start the validator."""
        keep(self.path, {"ran": None, "reason": "it was still running"})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def lines(self, wait: float = TIMEOUT) -> list[str]:
        """Wait for the end and return lines for the user."""
        self._thread.join(wait)
        if self._thread.is_alive():
            self.found = {"ran": False, "reason": "it took too long"}
        if not self.found["ran"]:
            return [f"The BIDS validator did not run: {self.found['reason']}"]
        errors = self.found["errors"]
        if not errors:
            return ["The BIDS validator found no errors"]
        total = sum(errors.values())
        listed = [f"  {code} ({n}), such as {self.found['examples'][code]}" for code, n in errors.items()]
        head = f"The BIDS validator found {total} error{'s' * (total > 1)}; the run goes on:"
        return [head, *listed[:5], *([f"  and {len(listed) - 5} more kinds"] if len(listed) > 5 else [])]

    def _run(self) -> None:
        self._validate()
        keep(self.path, self.found)

    def _validate(self) -> None:
        program = find()
        if program is None:
            self.found = {"ran": False, "reason": f"it is not installed (pip install {PROGRAM})"}
            return
        command = [program, str(self.dataset), "--format", "json", "--color=false"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            issues = json.loads(done.stdout)["issues"]["issues"]
        except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
            self.found = {"ran": False, "reason": f"it failed ({type(error).__name__})"}
            return
        errors = [issue for issue in issues if issue.get("severity") == "error"]
        where = {str(issue.get("code")): place(issue) for issue in reversed(errors)}
        self.found = {
            "ran": True,
            "errors": dict(Counter(str(issue.get("code")) for issue in errors).most_common()),
            "warnings": sum(issue.get("severity") == "warning" for issue in issues),
            "examples": where,
        }


def place(issue: dict[str, Any]) -> str:
    """Return where an error of the validator is, and the value or words that it names.

    Examples
    --------
    >>> place({"code": "TSV_EQUAL_ROWS", "location": "/participants.tsv", "line": 4})
    'participants.tsv, line 4'
    >>> issue = {"code": "TSV_VALUE_INCORRECT_TYPE", "location": "/participants.tsv", "line": 2}
    >>> place(issue | {"subCode": "age", "issueMessage": "'abc'"})
    "participants.tsv, line 2, column age: 'abc'"
    """
    parts = [str(issue.get("location") or "the dataset").lstrip("/")]
    if issue.get("line"):
        parts.append(f"line {issue['line']}")
    if issue.get("subCode"):
        what = "column " if str(issue.get("code")).startswith("TSV") else ""
        parts.append(f"{what}{issue['subCode']}")
    message = (str(issue.get("issueMessage") or "").strip().splitlines() or [""])[0]
    known = message and not message.startswith("Field description")
    return ", ".join(parts) + (f": {message[:MESSAGE]}" if known else "")


def keep(path: Path, found: dict[str, Any]) -> None:
    """Write the state and the result of the validation."""
    with suppress(OSError):
        write_text(path, json.dumps(found, indent=2) + "\n")


def words(found: dict[str, Any]) -> str:
    """Return state and result in a few words, for the reports.

    Examples
    --------
    >>> words({"ran": True, "errors": {}}), words({"ran": True, "errors": {"EMPTY_FILE": 2}})
    ('no errors in the dataset', '2 errors in the dataset (EMPTY_FILE)')
    >>> words({"ran": False, "reason": "--skip-bids-validation"})
    'not run: --skip-bids-validation'
    """
    errors = found.get("errors")
    if found.get("ran") and isinstance(errors, dict):
        total = sum(count for count in errors.values() if isinstance(count, int))
        kinds = ", ".join(map(str, list(errors)[:3])) + (", ..." if len(errors) > 3 else "")
        return (
            f"{total} error{'s' * (total > 1)} in the dataset ({kinds})"
            if errors
            else "no errors in the dataset"
        )
    reason = str(found.get("reason") or "")
    if "ran" in found and found["ran"] is None:
        return f"{reason} when this page was made"
    return f"not run: {reason}" if reason else ""


def find() -> str | None:
    """Return the path of the validator: on the search path, or in the folder of this Python."""
    own = Path(sys.executable).parent / PROGRAM
    return shutil.which(PROGRAM) or (str(own) if own.is_file() else None)
