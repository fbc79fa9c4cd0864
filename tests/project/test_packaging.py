"""What the distribution promises: one version everywhere, shipped data files, and the house rules."""

import ast
import json
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from helpers import ROOT

TOP = ("bidsapp", "workflows", "interfaces", "models", "training")
SOURCES = sorted(path for top in TOP for path in (ROOT / top).rglob("*.py"))
BESIDE = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
DATA_SUFFIXES = {".tsv", ".toml", ".safetensors", ".json", ".yaml", ".css", ".js", ".html", ".jinja"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def declared() -> dict:
    """Arguments that setup.py gives to ``setup``."""
    code = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **given: print(json.dumps(given))\n"
        "runpy.run_path('setup.py', run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "No module named 'setuptools'" in result.stderr:
        pytest.skip("setuptools is not installed here")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_version_stands_in_one_place(declared):
    version = declared["version"]
    assert distribution("brainseg-bids").version == version
    assert version in (ROOT / "CHANGELOG.md").read_text()
    elsewhere = ("CITATION.cff", "Dockerfile", "pyproject.toml", "docs/conf.py", "bidsapp/__init__.py")
    assert not [name for name in elsewhere if version in (ROOT / name).read_text()]


def test_every_folder_is_packaged(declared):
    for path in SOURCES:
        package = ".".join(("brainseg", *path.parent.relative_to(ROOT).parts))
        assert package in declared["packages"], f"{path.relative_to(ROOT)}: no __init__.py beside it?"
    assert set(declared["package_dir"]) == {f"brainseg.{top}" for top in TOP}


def test_data_files_are_shipped(declared):
    shipped = {
        found
        for package, patterns in declared["package_data"].items()
        for pattern in patterns
        for found in (ROOT / declared["package_dir"][package]).glob(_recursive(pattern))
    }
    data = {path for top in TOP for path in (ROOT / top).rglob("*") if path.suffix in DATA_SUFFIXES}
    assert not sorted(_name(path) for path in data - shipped)


def _recursive(pattern: str) -> str:
    # pathlib's trailing ** finds folders only
    return f"{pattern}/*" if pattern.endswith("**") else pattern


def test_weights_stay_small_and_carry_cards():
    weights = sorted((ROOT / "models" / "data" / "weights").glob("*.safetensors"))
    assert weights
    assert sum(path.stat().st_size for path in weights) <= 40e6
    assert not [path.name for path in weights if not path.with_suffix(".json").is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES + BESIDE, ids=_name)
def test_no_second_copy_of_the_code_is_imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        bare = [name for name in names if name.split(".")[0] in TOP]
        assert not bare, f"line {node.lineno}: write brainseg.{bare[0]} or a relative import"


def test_scripts_point_to_the_package(declared):
    scripts = dict(line.split(" = ") for line in declared["entry_points"]["console_scripts"])
    assert scripts == {
        "brainseg-bids": "brainseg.bidsapp.cli.bids:main",
        "brainseg": "brainseg.bidsapp.cli.main:main",
    }


def test_contracts_cover_every_folder():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) == {f"brainseg.{top}" for top in TOP}
