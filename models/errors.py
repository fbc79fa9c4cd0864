"""Errors that a user can act on: which file, why, and the way out."""

from __future__ import annotations

from pathlib import Path


class BrainsegError(Exception):
    """An error with the file it is about, the reason and what to do.

    Parameters
    ----------
    path : path-like or None
        The file or folder at fault.
    reason : str
        What is wrong with it.
    remedy : str
        What the user can do.

    Examples
    --------
    >>> str(InputError("a.nii", "it is empty", "Fetch it again"))
    'a.nii: it is empty. Fetch it again.'
    """

    exit_code = 70

    def __init__(self, path: str | Path | None, reason: str, remedy: str = "") -> None:
        self.path = str(path) if path is not None else ""
        self.reason, self.remedy = reason.rstrip("."), remedy.rstrip(".")
        super().__init__(self.path, self.reason, self.remedy)

    def __str__(self) -> str:
        head = f"{self.path}: " if self.path else ""
        tail = f" {self.remedy}." if self.remedy else ""
        return f"{head}{self.reason}.{tail}"


class InputError(BrainsegError):
    """An image or sidecar that cannot be used; the participant fails, the others go on."""

    exit_code = 1


class UsageError(BrainsegError):
    """A command line that does not say what to do."""

    exit_code = 2


class ReportError(BrainsegError):
    """A report that could not be written."""

    exit_code = 3


class DatasetError(BrainsegError):
    """A dataset that is not usable."""

    exit_code = 65


class MissingFileError(BrainsegError):
    """A needed file or program that is not there."""

    exit_code = 126
