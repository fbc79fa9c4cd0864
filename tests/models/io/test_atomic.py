"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

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
