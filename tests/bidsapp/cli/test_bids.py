"""The command line: help, mistakes, and what is offered."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainseg.bidsapp import __version__
from brainseg.bidsapp.cli import bids

COMMAND = [sys.executable, "-m", "brainseg.bidsapp"]


def test_help_is_quick_grouped_and_complete():
    began = time.monotonic()
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 5  # under a second where nothing else runs
    for action in bids.parser().arguments:
        assert action.help, action
        assert all(flag in done.stdout for flag in action.option_strings)
    for heading in ("which images", "how they are processed", "resources", "execution", "exit codes"):
        assert heading in done.stdout


def test_the_examples_of_the_help_are_commands_of_the_program():
    parser = bids.parser()
    lines = [line.strip().split("  ")[0].split() for line in parser.examples.splitlines()]
    assert len(lines) > 3 and parser.format_help().endswith(parser.examples)
    for line in lines:
        assert line[0] == "brainseg-bids"
        if line[-1] != "status":
            parser.parse_args(line[1:])


@pytest.mark.parametrize("lines", ["bids.parser().format_help()", "main.main(['--help'])"])
def test_help_imports_nothing_heavy(lines):
    code = (
        "import sys; from brainseg.bidsapp.cli import bids, main\n"
        f"{lines}\n"
        "heavy = {'torch', 'nipype', 'bids', 'matplotlib', 'pandas', 'nibabel', 'numpy', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        bids.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"brainseg-bids {__version__}"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--particpant-label", "01"], "--participant-label"),
        (["--nprocs", "many"], "--nprocs"),
        (["--device", "gpu"], "cuda"),
        (["--skull-strip", "maybe"], "auto"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        bids.main(["/b", "/o", "participant", *argv])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 2


def test_a_mistake_is_no_traceback(tmp_path, capsys):
    assert bids.main([str(tmp_path / "nowhere"), str(tmp_path / "out"), "participant"]) == 65
    said = capsys.readouterr().err
    assert "nowhere: the folder does not exist" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_error_inside_is_code_70(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("brainseg.bidsapp.inputs.select.select", lambda settings: 1 / 0)
    argv = [str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "w")]
    assert bids.main(argv) == 70
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


def test_every_flag_does_something():
    """Every flag reaches the settings, and every setting is read somewhere."""
    folder = Path(bids.__file__).parents[1]
    skipped = ("bids_options.py", "settings.py")
    sources = "".join(p.read_text() for p in folder.rglob("*.py") if p.name not in skipped)
    aside = {"help", "version", "config_file", "notrack", "mem", "completion"}
    derived = {"modalities": "suffixes", "random_seed": "random_seed", "population": "population"}
    derived |= {"steps": "step(", "derivatives": "precomputed"}
    for action in bids.parser().arguments:
        if action.dest not in aside:
            name = derived.get(action.dest, action.dest)
            assert f".{name}" in sources, f"{action.option_strings or action.dest} does nothing"
