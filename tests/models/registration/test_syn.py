"""Temporary files of ANTs go where there is room."""

import tempfile
from types import SimpleNamespace

import pytest

from brainseg.models.registration import syn


@pytest.mark.parametrize(
    ("temporary", "current", "elsewhere"), [(64e6, 50e9, True), (50e9, 50e9, False), (64e6, 64e6, False)]
)
def test_a_small_folder_of_temporary_files_is_not_filled(
    tmp_path, monkeypatch, temporary, current, elsewhere
):
    here, there = tmp_path / "work", tmp_path / "tmp"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    free = {here: current, there: temporary}
    monkeypatch.setattr(syn.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    assert syn._roomy() == (here if elsewhere else None)
