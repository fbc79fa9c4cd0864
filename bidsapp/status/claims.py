"""Claims: which process works on which participant-session, also on other nodes.

A claim is a file ``logs/status/.KEY.lock`` that names its owner. Where locks of files (``flock``) reach all
nodes, the owner has the file locked, and the system releases it when the process dies. Elsewhere the file
itself is the claim, a lease: it is made exclusively, its owner renews its time every minute, and ten minutes
without renewal mean that the owner is dead.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from ..config import environment
from . import cleanup, records
from .mounts import only_here

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # a platform without file locks
    fcntl = None

LOG = logging.getLogger("brainseg")

BEAT = 60.0
"""Seconds between two renewals of a lease."""

LEASE = 600.0
"""Seconds without renewal after which the owner of a lease counts as dead."""

TRIES, PAUSE = 4, 0.05
"""How often a lock is asked for, and the seconds between: who only looks at it has it for an instant."""

LOCK, LEASED = "lock", "lease"
"""The two kinds of claims."""


@dataclass(frozen=True)
class Owner:
    """Who claimed a participant-session, as in its file.

    Attributes
    ----------
    host, job : str
        Its computer, and its job in a batch system; empty if there is none.
    pid : int
        Number of the process.
    since : str
        When it began.
    kind : str
        ``lock`` or ``lease``.
    token : str
        Unique to the claim.
    space, start : str
        Where the number of the process is valid (boot and name space), and when that process started.
    """

    host: str = ""
    job: str = ""
    pid: int = 0
    since: str = ""
    kind: str = ""
    token: str = ""
    space: str = ""
    start: str = ""

    def __str__(self) -> str:
        where = [self.host or "an unknown computer", f"job {self.job}" if self.job else f"process {self.pid}"]
        return ", ".join([*where, f"since {self.since}"] if self.since else where)

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended; only on its own computer."""
        return self.space == _space() and self.pid > 0 and _started(self.pid) != self.start


@dataclass
class _Held:
    """A claim of this process."""

    path: Path
    owner: Owner
    handle: IO[str] | None = None


class Claims:
    """The participant-sessions that this process has claimed.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    """

    def __init__(self, out_dir: Path) -> None:
        self.out_dir = out_dir
        self._held: dict[str, _Held] = {}
        self._locks: ModuleType | None = None
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, key: str) -> bool:
        """Claim a participant-session; return False if another process has it.

        Partial files of an earlier process are removed.

        Parameters
        ----------
        key : str
            The participant-session.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if key in self._held:
            return True
        path = file_of(self.out_dir, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._beat is None:
            self._locks = fcntl if shared_locks(path.parent) else None
            self._beat = threading.Thread(target=self._renew, daemon=True)
            self._beat.start()
        held = _lock(path, self._locks) if self._locks else _lease(path)
        if held is None:
            return False
        self._held[key] = held
        cleanup.sweep_participant_session(self.out_dir, key)
        return True

    def tidy(self, key: str) -> None:
        """Remove the file of a process that was killed after its work was done."""
        if file_of(self.out_dir, key).exists() and key not in self._held and self.take(key):
            self.release(key)

    def release(self, key: str) -> None:
        """Give a claim back, if this process has it."""
        held = self._held.pop(key, None)
        if held is None:
            return
        if held.handle is not None or read(held.path).token == held.owner.token:
            with suppress(OSError):
                held.path.unlink()
        if held.handle is not None:
            held.handle.close()

    def release_all(self) -> None:
        """Give all claims back."""
        for key in list(self._held):
            self.release(key)

    def close(self) -> None:
        """Give all claims back, and claim no more."""
        self.release_all()
        self._ended.set()

    def _renew(self) -> None:
        while not self._ended.wait(BEAT):
            for key, held in list(self._held.items()):
                with suppress(OSError):
                    os.utime(held.path)
                if held.handle is None and (found := read(held.path)).token != held.owner.token:
                    LOG.warning(
                        "%s: this process was silent for too long, and another one works on it now (%s)",
                        key,
                        found,
                    )
                    self._held.pop(key, None)


def file_of(out_dir: Path, key: str) -> Path:
    """Return the file of the claim on a participant-session."""
    return records.folder(out_dir) / f".{key}.lock"


def read(path: Path) -> Owner:
    """Return the owner that a file names; one without a name if there is none, or it is damaged."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        known = {name: content[name] for name in Owner.__dataclass_fields__ if name in content}
        return Owner(**known | {"pid": int(known.get("pid", 0))})
    except (OSError, ValueError, TypeError, KeyError):
        return Owner()


def holder(out_dir: Path, key: str) -> Owner | None:
    """Return who works on a participant-session; None if no living process does.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    key : str
        The participant-session.
    """
    path = file_of(out_dir, key)
    if not path.exists():
        return None
    owner = read(path)
    if owner.kind != LEASED and fcntl is not None and not only_here(path.parent):
        try:
            with path.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            return owner
        except FileNotFoundError:
            return None
        except OSError:
            pass
    return None if _stale(path, owner) else owner


def shared_locks(folder: Path) -> bool:
    """Return whether locks of files in a folder work and reach all nodes."""
    if fcntl is None or only_here(folder):
        return False
    probe = folder / f".{uuid.uuid4().hex}.partial"
    try:
        with probe.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _lock(path: Path, locks: ModuleType) -> _Held | None:
    """Lock the file; None if another process has it."""
    while True:
        handle = path.open("a+", encoding="utf-8")
        try:
            _wait_for_lock(handle, locks)
        except OSError:
            handle.close()
            return None
        with suppress(OSError):
            if path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                break
        handle.close()  # its owner removed it while we waited: take the new one
    before = read(path)
    if before.kind == LEASED and not _stale(path, before):  # of a process for which there are no locks
        handle.close()
        return None
    owner = _own(LOCK)
    with suppress(OSError):  # on a full disk it has no name
        handle.truncate(0)
        handle.write(_text(owner))
        handle.flush()
    return _Held(path, owner, handle)


def _wait_for_lock(handle: IO[str], locks: ModuleType) -> None:
    for left in reversed(range(TRIES)):
        try:
            locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise
            time.sleep(PAUSE)


def _lease(path: Path) -> _Held | None:
    """Make the file exclusively, or take over that of a dead process; None if its owner lives."""
    owner = _own(LEASED)
    if _made(path, _text(owner)):
        return _Held(path, owner)
    before = read(path)
    if not _stale(path, before):
        return None
    # Of all that see it dead, one may follow it: who makes this file, while the dead one is still the owner.
    gate = path.with_name(f"{path.name}.{before.token or 0}")
    if not _made(gate, _text(owner)):
        if _age(gate) > LEASE:
            gate.unlink(missing_ok=True)
        return None
    try:
        if not path.exists() or read(path).token != before.token:
            return None
        new = path.with_name(f"{path.name}.{owner.token}.partial")
        new.write_text(_text(owner), encoding="utf-8")
        new.replace(path)
        return _Held(path, owner)
    finally:
        gate.unlink(missing_ok=True)


def _made(path: Path, text: str) -> bool:
    """Make a file with a text; return False if there is one."""
    try:
        with path.open("x", encoding="utf-8") as file, suppress(OSError):  # on a full disk it has no name
            file.write(text)
            file.flush()
        return True
    except FileExistsError:
        return False


def _stale(path: Path, owner: Owner) -> bool:
    """Return whether the owner of a file is dead: on this computer its process, else for want of renewal."""
    return owner.dead or _age(path) > LEASE


def _age(path: Path) -> float:
    """Return the seconds since a file was renewed, by the clock of its file system if that can be asked."""
    probe, now = path.with_name(f".{uuid.uuid4().hex}.partial"), time.time()
    with suppress(OSError):
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _own(kind: str) -> Owner:
    """Return this process as an owner."""
    pid = os.getpid()
    return Owner(
        host=platform.node(),
        job=environment.job(),
        pid=pid,
        since=records.now(),
        kind=kind,
        token=uuid.uuid4().hex,
        space=_space(),
        start=_started(pid),
    )


def _text(owner: Owner) -> str:
    known: Mapping[str, Any] = {name: getattr(owner, name) for name in Owner.__dataclass_fields__}
    return json.dumps(known) + "\n"


def _space() -> str:
    """Return where numbers of processes are valid: since which boot, in which name space."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """Return when a process started; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
