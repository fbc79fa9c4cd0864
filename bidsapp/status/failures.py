"""Faults for the user, from the exceptions of nodes."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from typing import Any

from ...models import errors
from . import records
from .records import Fault

KILLED = Fault(
    stage="",
    reason="its process was killed, as a rule because the machine's memory ran out",
    remedy="Give more memory, or run fewer at once with --nprocs and --mem",
    kind=records.KILLED,
)
FULL_REASON = "the disk is full"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MEMORY = re.compile(
    r"MemoryError|bad_?alloc|MemoryAllocation|(out of|not enough|can't allocate|cannot allocate) memory", re.I
)
"""How Python, NumPy, PyTorch, ITK and C++ say that memory ran out."""
OWN = re.compile(r"An exception of type (\w+) occurred while running interface")


def explain(error: BaseException, result: Any) -> Fault:
    """Return the fault behind an exception.

    Parameters
    ----------
    error : BaseException
        What running the node raised: as a rule Nipype's wrapper.
    result : InterfaceResult or None
        The node's result, whose ``runtime`` has what the interface itself raised.
    """
    if isinstance(error, errors.BrainsegError):
        return Fault("", error.reason, error.path, error.remedy, kind=type(error).__name__)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error.errno, str(error.filename or ""), type(error).__name__)
    runtime = getattr(result, "runtime", None)
    args = getattr(runtime, "traceback_args", None)
    text = getattr(runtime, "traceback", None) or f"{type(error).__name__}: {error}"
    if args and (found := OWN.search(args[0])):
        own = getattr(errors, found[1], None)
        if isinstance(own, type) and issubclass(own, errors.BrainsegError):
            path, reason, remedy = (args[0].split("\n") + ["", "", ""])[:3]
            return Fault("", reason, path, remedy, kind=found[1])
    return explain_text(text)


def explain_text(text: str) -> Fault:
    """Return the fault behind the text of a traceback.

    Examples
    --------
    >>> explain_text("Traceback ...\\nValueError: 3 is no brain").reason
    'ValueError: 3 is no brain'
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or ["unknown error"]
    # The exception is in the last line with its form; its message may continue below.
    last = next(
        (line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)),
        lines[-1],
    )
    kind, _, message = last.partition(":")
    kind = kind.rpartition(".")[2]
    system = re.match(r"\s*\[Errno (\d+)\][^:]*(?:: '([^']*)')?", message)
    if system:
        return _of_system(int(system[1]), system[2] or "", kind)
    if MEMORY.search(last):
        return replace(KILLED, reason="the memory did not suffice", kind=kind)
    own = getattr(errors, kind, None)
    if isinstance(own, type) and issubclass(own, errors.BrainsegError):
        return Fault("", message.strip(), kind=kind)
    remedy = "This is a fault of the program: please report it with the crash file"
    return Fault("", last[:300], remedy=remedy, kind=kind)


def is_known(kind: str) -> bool:
    """Return whether faults of a kind have a reason and remedy of their own, from their class or the system.

    Examples
    --------
    >>> is_known("InputError"), is_known("ValueError"), is_known("")
    (True, False, False)
    """
    own = getattr(errors, kind, None) if kind else None
    return kind == records.KILLED or (isinstance(own, type) and issubclass(own, errors.BrainsegError))


def with_crash(fault: Fault, crash: str) -> Fault:
    """Return the fault with its crash file."""
    return replace(fault, crash=str(crash or ""))


def of_error(error: BaseException, stage: str) -> Fault:
    """Return the fault behind an exception that was raised outside a node."""
    return replace(explain(error, None), stage=stage)


def _of_system(number: int, path: str, kind: str) -> Fault:
    if number in FULL:
        return Fault(
            "", FULL_REASON, path, "Free disk space, then run the same command again to continue", kind=kind
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Fault(
            "", f"it cannot be accessed ({os.strerror(number)})", path, "Check its permissions", kind=kind
        )
    if number == errno.ENOMEM:
        return replace(KILLED, reason="the memory did not suffice", kind=kind)
    return Fault("", os.strerror(number).lower(), path, "See the crash file", kind=kind)
