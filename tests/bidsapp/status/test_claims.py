"""Claims: one process at a time works on a participant-session, also where files cannot be locked."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from brainseg.bidsapp.status import claims, mounts
from brainseg.bidsapp.status.claims import Claims, holder

OTHER = """
import sys
from pathlib import Path
from brainseg.bidsapp.status import claims, mounts
if sys.argv[2] == "lease":
    claims.shared_locks = lambda folder: False
print(claims.Claims(Path(sys.argv[1])).take("sub-01"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["lock", "lease"])
def kind(request, monkeypatch):
    """With locks of files, and as if the file system had none."""
    if request.param == "lease":
        monkeypatch.setattr(claims, "shared_locks", lambda folder: False)
        monkeypatch.setattr(claims, "only_here", lambda folder: True)
    return request.param


def _other(folder, kind):
    """Another process with a claim on sub-01."""
    command = [sys.executable, "-c", OTHER, str(folder), kind]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline().strip() == "True"
    return other


def _left(folder):
    return sorted(path.name for path in (folder / "logs" / "status").iterdir())


@pytest.mark.slow
def test_it_is_left_alone_until_its_process_dies(tmp_path, kind):
    with Claims(tmp_path) as mine, _other(tmp_path, kind) as other:
        assert not mine.take("sub-01")
        assert mine.take("sub-02")
        assert (holder(tmp_path, "sub-01").pid, holder(tmp_path, "sub-03")) == (other.pid, None)
        other.kill()
        other.wait()
        # on this computer its death is seen at once
        assert holder(tmp_path, "sub-01") is None
        assert mine.take("sub-01")
        assert holder(tmp_path, "sub-01").pid == os.getpid()
    assert not _left(tmp_path)


def test_whoever_looks_does_not_take(tmp_path, kind):
    with Claims(tmp_path) as mine, Claims(tmp_path) as others:
        assert mine.take("sub-01")
        assert mine.take("sub-01")
        for _ in range(20):
            assert holder(tmp_path, "sub-01") is not None
        assert not others.take("sub-01")
        mine.release("sub-01")
        assert holder(tmp_path, "sub-01") is None
        assert others.take("sub-01")


def test_a_lease_without_renewal_is_taken_over_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "shared_locks", lambda folder: False)
    monkeypatch.setattr(claims, "only_here", lambda folder: True)
    monkeypatch.setattr(claims, "_space", lambda: "another computer")
    path = claims.file_of(tmp_path, "sub-01")
    with Claims(tmp_path) as dead:
        assert dead.take("sub-01")
        monkeypatch.setattr(claims, "_space", lambda: "here")
        living = [Claims(tmp_path) for _ in range(8)]
        assert not living[0].take("sub-01")
        long_ago = time.time() - claims.LEASE - 5
        os.utime(path, (long_ago, long_ago))
        assert holder(tmp_path, "sub-01") is None
        found = []
        threads = [threading.Thread(target=lambda c=c: found.append(c.take("sub-01"))) for c in living]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [False] * 7 + [True]
        # who lost it leaves it alone
        dead.release("sub-01")
        assert path.exists()
        for one in living:
            one.close()
    assert not _left(tmp_path)


def test_a_lease_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "shared_locks", lambda folder: False)
    monkeypatch.setattr(claims, "BEAT", 0.01)
    path = claims.file_of(tmp_path, "sub-01")
    with Claims(tmp_path) as mine:
        mine.take("sub-01")
        os.utime(path, (0, 0))
        until = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 60


def test_a_file_system_without_locks_is_recognized(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    assert claims.shared_locks(tmp_path)
    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    assert not claims.shared_locks(tmp_path)
    with Claims(tmp_path) as mine, Claims(tmp_path) as others:
        assert mine.take("sub-01")
        assert not others.take("sub-01")
        assert claims.read(claims.file_of(tmp_path, "sub-01")).kind == "lease"


@pytest.mark.parametrize(
    ("mount", "local"),
    [
        ("lustre mds:/scratch rw,flock", False),
        ("lustre mds:/scratch rw,localflock", True),
        ("nfs4 server:/home rw,vers=4.2,local_lock=none", False),
        ("nfs server:/home rw,vers=3,nolock,local_lock=all", True),
        ("beegfs beegfs_nodev rw", True),
        ("fuse.sshfs me@there:/x rw", True),
        ("ext4 /dev/sda1 rw", False),
    ],
)
def test_locks_that_do_not_reach_other_nodes(tmp_path, mount, local):
    listed = tmp_path / "mountinfo"
    lines = ["22 1 0:20 / / rw - ext4 /dev/root rw", f"23 22 0:21 / {tmp_path} rw,noatime shared:1 - {mount}"]
    listed.write_text("\n".join(lines) + "\n")
    assert mounts.only_here(tmp_path / "out", listed) is local
    assert not mounts.only_here(tmp_path.parent, listed)
