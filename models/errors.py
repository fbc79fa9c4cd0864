"""Errors that a user can act on: file, reason and remedy."""

from __future__ import annotations

from pathlib import Path


class BrainsegError(Exception):
    """Error with the file at fault, the reason and the remedy.

    Parameters
    ----------
    path : path-like or None
        The file or folder at fault.
    reason : str
        What is wrong with it.
    remedy : str
        Action of the user.

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
        end = "" if self.remedy.endswith("?") else "."
        tail = f" {self.remedy}{end}" if self.remedy else ""
        return f"{head}{self.reason}.{tail}"


class InputError(BrainsegError):
    """Unusable image or sidecar; the participant-session fails, the others continue."""

    exit_code = 1


class OutputError(BrainsegError):
    """Failure to write an output, such as on a full disk."""

    exit_code = 1


class UsageError(BrainsegError):
    """Invalid or incomplete command line."""

    exit_code = 2


class ReportError(BrainsegError):
    """Failure to write a report."""

    exit_code = 3


class DatasetError(BrainsegError):
    """Unusable dataset."""

    exit_code = 65


class FullDiskError(BrainsegError):
    """Too little space on a disk to begin or to go on."""

    exit_code = 73


class MissingFileError(BrainsegError):
    """Missing file or program."""

    exit_code = 126
