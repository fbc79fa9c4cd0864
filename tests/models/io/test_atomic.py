"""Files that are written whole or not at all."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.bidsapp.status import cleanup
from brainseg.models.io import atomic


def test_a_new_file_and_its_folders(tmp_path):
    path = atomic.write_text(tmp_path / "a" / "b.txt", "µ\n")
    assert path.read_bytes() == "µ\n".encode()
    assert atomic.write_bytes(path, b"\0").read_bytes() == b"\0"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_keeps_the_earlier_content_and_leaves_nothing(tmp_path):
    path = atomic.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_earlier_content(tmp_path, monkeypatch):
    path = atomic.write_text(tmp_path / "a.json", "whole")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(path, "another")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "whole"


@pytest.mark.parametrize("name, ending", [("a.nii.gz", ".nii.gz"), ("sub-1.2_a.png", ".png"), ("README", "")])
def test_the_temporary_name(tmp_path, name, ending):
    with atomic.replacing(tmp_path / name, keep_extension=True) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".{name}.")
        assert temporary.name.endswith(f"{atomic.MARK}{ending}")
        temporary.touch()
    with atomic.replacing(tmp_path / name) as temporary:
        assert temporary.name.endswith(atomic.MARK)
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_of_a_killed_process_are_known(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom brainseg.models.io import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.md")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.md.") and atomic.abandoned(left.name)
    with atomic.replacing(tmp_path / "b.md") as temporary:
        assert not atomic.abandoned(temporary.name), "its process lives"
        temporary.touch()
    (tmp_path / "logs").mkdir()
    left.rename(tmp_path / "logs" / left.name)
    (tmp_path / "logs" / ".c.md.12ab34cd.partial").touch()  # of another machine, or an earlier version
    cleanup.sweep_old(tmp_path)
    assert [path.name for path in (tmp_path / "logs").iterdir()] == [".c.md.12ab34cd.partial"]
    assert doctest.testmod(atomic).failed == 0
