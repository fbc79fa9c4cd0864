"""Functions named by strings: every one is there, and a missing optional package is reported."""

import pytest

from brainseg.bidsapp.cli import bids, dispatch, main
from brainseg.models.errors import MissingFileError


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_its_function(name):
    assert callable(main.COMMANDS[name].resolve())


def test_the_run_and_the_completion_have_their_functions():
    for target in (bids.RUN, bids.SHOW, "brainseg.bidsapp.cli.completion:script"):
        assert callable(dispatch.resolve(target))


def test_a_missing_optional_package_is_reported_with_its_remedy(monkeypatch, tmp_path):
    (tmp_path / "some_tool.py").write_text("import package_of_an_extra.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingFileError) as caught:
        dispatch.resolve("some_tool:run", "train")
    assert "needs the Python package package_of_an_extra" in str(caught.value)
    assert "pip install 'brainseg-bids[train]'" in str(caught.value)


def test_a_module_of_the_program_that_is_missing_is_an_error():
    with pytest.raises(ModuleNotFoundError):
        dispatch.resolve("brainseg.bidsapp.nowhere:run", "train")
