"""The work folder is one that this user can write, wherever the program runs."""

import os
import shutil
from types import SimpleNamespace

import pytest

from brainseg.bidsapp.execution import directories


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The folders of a run in a current folder; ``written`` are those that can be written."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def prepare(work="work", unwritable=()):
        refused = {(tmp_path / name).resolve() for name in unwritable}
        monkeypatch.setattr(directories, "_can_be_written", lambda path: path.resolve() not in refused)
        wanted = (tmp_path / "here" / work).resolve()
        folders = {"output_dir": tmp_path / "out", "work_dir": wanted}
        more = {"analysis_level": ("participant",), "boilerplate_only": False}
        return directories.prepare(SimpleNamespace(**folders, **more))

    return prepare


def test_the_default_is_in_the_current_folder(prepared, tmp_path):
    found = prepared()
    assert found.work.parent == tmp_path / "here" / "work" and not found.notes
    assert f"_{os.getuid()}_" in found.work.name


def test_in_a_current_folder_that_cannot_be_written_it_is_hidden_in_the_output_folder(prepared, tmp_path):
    found = prepared(unwritable=["here/work"])
    assert found.work.parent == tmp_path / "out" / f".brainseg-work-{os.getuid()}"
    assert "the current folder cannot be written" in found.notes[0] and "--work-dir" in found.notes[0]
    found.work.mkdir(parents=True)
    directories.clean_work(found)
    assert not found.work.parent.exists()


def test_a_small_current_folder_is_not_filled(prepared, tmp_path, monkeypatch):
    usage = shutil.disk_usage
    small = SimpleNamespace(free=50_000_000)
    inside = lambda path: small if "here" in str(path) else usage(path)  # noqa: E731
    monkeypatch.setattr(directories.shutil, "disk_usage", inside)
    found = prepared()
    assert found.work.is_relative_to(tmp_path / "out") and "too little space" in found.notes[0]


def test_the_folder_of_another_user_is_no_fault(prepared, tmp_path, monkeypatch):
    (tmp_path / "brainseg").mkdir()
    uid = os.getuid()
    monkeypatch.setattr(directories.os, "getuid", lambda: uid + 1)
    found = prepared("../brainseg", unwritable=["brainseg"])
    assert found.work.parent == tmp_path / f"brainseg-{uid + 1}"
    assert "belongs to another user" in found.notes[0]


def test_a_folder_that_was_asked_for_is_not_replaced_otherwise(prepared, tmp_path):
    found = prepared("../mine", unwritable=["mine"])
    assert found.work.parent == tmp_path / "mine" and not found.notes
