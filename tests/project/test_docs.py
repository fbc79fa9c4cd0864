"""The documentation: it builds without a warning, names every file that is written, and its examples run."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys

import pytest

from brainseg.models.io import outputs
from helpers import DATA, ROOT

DOCS = ROOT / "docs"
TREES = sorted(path.name for path in DATA.glob("outputs_*.txt"))
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


@pytest.mark.slow
def test_it_builds_without_warnings(pages):
    for source in DOCS.glob("*.md"):
        assert (pages / f"{source.stem}.html").is_file()
    said = (pages / "generated" / "command-line.html").read_text()
    assert "--participant-label" in said
    assert "--skull-strip" in said


def _documented() -> set[str]:
    """Names in the first column of the tables of the page on outputs."""
    text = "\n".join([(DOCS / "outputs.md").read_text(), generate.derivatives(), generate.label_files()])
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`([^`]+)`", " ".join(cells)))


def _names(tree: str) -> list[str]:
    """Paths of an expected tree without the JSON files that describe another file."""
    names = (DATA / tree).read_text().split()
    described = {outputs.sidecar(name) for name in names if not name.endswith(".json")}
    return [name for name in names if name not in described]


def _output(name: str) -> outputs.Output | None:
    """The kind of a file of a participant-session, by the longest known ending of its name."""
    parts = name.rpartition("/")[2].split("_")
    found = (outputs.find("_".join(parts[k:])) for k in range(1, len(parts)))
    return next((output for output in found if output is not None), None)


@pytest.mark.parametrize("tree", TREES)
def test_every_file_of_the_output_is_documented(tree):
    names = dict(zip(outputs.load(), (name for name, _, _ in outputs.table()), strict=True))
    for name in _names(tree):
        if "/" in name:
            output = _output(name)
            assert output is not None, name
            assert f"PREFIX_{names[output.id]}" in _documented()
        else:
            assert name in _documented()


@pytest.mark.parametrize("tree", TREES)
def test_every_file_that_is_always_written_is_in_the_tree(tree):
    reference = [output for output in outputs.load().values() if output.image == "reference"]
    always = {output.id for output in reference if not output.when and not output.per_space}
    assert always <= {output.id for name in _names(tree) if (output := _output(name)) is not None}


def test_every_flag_of_every_command_is_on_the_page():
    from brainseg.bidsapp.cli import bids, main

    text = generate.command_line()
    for action in bids.parser().arguments:
        for flag in action.option_strings or [action.metavar]:
            assert flag in text
    for command in main.COMMANDS:
        assert f"### brainseg {command}\n" in text
        assert f"usage: brainseg {command} " in text


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_examples_in_the_code_run(package):
    """Every module's own examples, at once."""
    top = importlib.import_module(f"brainseg.{package}")
    for module in pkgutil.walk_packages(top.__path__, f"brainseg.{package}."):
        if module.name.endswith("__main__"):
            continue
        found = doctest.testmod(importlib.import_module(module.name))
        assert found.failed == 0, module.name


def test_the_figures_of_the_front_page_are_those_of_the_benchmarks():
    front = (ROOT / "README.md").read_text().split("<!-- about: begin -->")[1].split("<!-- about: end -->")[0]
    measured = front.split("**As measured**")[1].split("**How it differs**")[0]
    figures = set(re.findall(r"\d+\.\d+", measured))
    printed = set(re.findall(r"\d+\.\d+", (ROOT / "benchmarks" / "README.md").read_text()))
    rounded = {f"{float(one):.{digits}f}" for one in printed for digits in range(1, len(one.split(".")[1]))}
    assert len(figures) > 10
    assert sorted(figures - printed - rounded) == []


def test_examples_in_the_pages_run():
    for page in DOCS.glob("*.md"):
        assert doctest.testfile(str(page), module_relative=False).failed == 0, page.name
