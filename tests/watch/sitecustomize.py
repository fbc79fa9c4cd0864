"""Loaded by every Python process that has this folder on its path: writes down what must not happen.

WATCH_LOG names the file for it, WATCH_READONLY a folder in which nothing may be changed. Connections within
the machine (between a run's own processes) are none of it.
"""

import os
import socket
import sys
from pathlib import Path

LOG, READONLY = os.environ.get("WATCH_LOG"), os.environ.get("WATCH_READONLY", "")
NAMES = (
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "urllib.Request",
    "http.client.connect",
)
CHANGES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)


def _watch(event: str, arguments: tuple) -> None:
    if event in NAMES or (event in ("socket.connect", "socket.sendto") and _is_outward(arguments[0])):
        _note("network", event, arguments[1:])
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _note_change(event, arguments[:1])
    elif event in CHANGES:
        _note_change(event, arguments[:2])


def _is_outward(where: object) -> bool:
    return getattr(where, "family", None) not in (
        getattr(socket, "AF_UNIX", None),
        getattr(socket, "AF_NETLINK", None),
    )


def _note_change(event: str, paths: tuple) -> None:
    names = [os.fsdecode(path) for path in paths if isinstance(path, (str, bytes))]
    if READONLY and any(str(Path(name).absolute()).startswith(f"{READONLY}/") for name in names):
        _note("write", event, names)


def _note(kind: str, event: str, what: object) -> None:
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{kind}\t{event}\t{what!r}\t{sys.argv[:2]!r}\n".encode())
    os.close(handle)


if LOG:
    os.close(os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    sys.addaudithook(_watch)
