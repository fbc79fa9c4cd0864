"""The documentation: it builds without a warning, names every file that is written, and its examples run."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys

import pytest

from helpers import DATA, ROOT

DOCS = ROOT / "docs"
PACKAGES = ("bidsapp", "workflows", "interfaces", "models", "training")

spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages as built."""
    pytest.importorskip("sphinx")
    out = tmp_path_factory.mktemp("html")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-E",
        "-q",
        "-b",
        "html",
        str(DOCS),
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_it_builds_without_warnings(pages):
    for source in DOCS.glob("*.md"):
        assert (pages / f"{source.stem}.html").is_file()
    said = (pages / "generated" / "command-line.html").read_text()
    assert "--participant-label" in said
    assert "--skull-strip" in said


def _patterns(text: str) -> list[str]:
    """Names in the first column of the tables, as patterns."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    out = []
    for name in re.findall(r"`([^`]+)`", " ".join(cells)):
        pattern = re.escape(name).replace("PREFIX", r"sub-\w+?(_\w+-\w+)*?").replace("SPACE", r"\w+")
        pattern = pattern.replace("_M\\.", r"_(T1w|T2w|FLAIR)\.").replace(
            "from\\-M_", r"from\-(T1w|T2w|FLAIR)_"
        )
        out.append(pattern.replace("to\\-M_", r"to\-(T1w|T2w|FLAIR)_"))
    return out


@pytest.mark.parametrize("tree", sorted(path.name for path in DATA.glob("outputs_*.txt")))
def test_every_file_of_the_output_is_described(tree):
    known = _patterns((DOCS / "outputs.md").read_text())
    names = (DATA / tree).read_text().split()
    images = {name.split(".")[0] for name in names if not name.endswith(".json")}
    for name in names:
        # sidecars are described once, for all
        if name.endswith(".json") and name.split(".")[0] in images:
            continue
        assert any(re.fullmatch(pattern, name.rpartition("/")[2]) for pattern in known), name


def test_every_participants_file_described_is_written():
    written = [n.rpartition("/")[2] for path in DATA.glob("outputs_*.txt") for n in path.read_text().split()]
    for pattern in _patterns((DOCS / "outputs.md").read_text()):
        if pattern.startswith(r"sub-\w+?"):
            assert any(re.fullmatch(pattern, name) for name in written), pattern


def test_every_flag_of_every_command_is_on_the_page():
    from brainseg.bidsapp.cli import bids, main

    text = generate.command_line()
    for action in bids.parser().arguments:
        for flag in action.option_strings or [action.metavar]:
            assert flag in text
    for command in main.COMMANDS:
        assert f"### brainseg {command}\n" in text
        assert f"usage: brainseg {command} " in text


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_in_the_code_run(package):
    """Every module's own examples, at once."""
    top = importlib.import_module(f"brainseg.{package}")
    for module in pkgutil.walk_packages(top.__path__, f"brainseg.{package}."):
        if module.name.endswith("__main__"):
            continue
        found = doctest.testmod(importlib.import_module(module.name))
        assert found.failed == 0, module.name


def test_examples_in_the_pages_run():
    for page in DOCS.glob("*.md"):
        assert doctest.testfile(str(page), module_relative=False).failed == 0, page.name
