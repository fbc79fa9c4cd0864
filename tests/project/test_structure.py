"""The shape of the code: no import cycle, small folders, short modules and functions, imports at the top."""

import ast
import re
from collections import Counter
from pathlib import Path

import grimp
import networkx
import pytest

from helpers import ROOT

TOP = ("bidsapp", "workflows", "interfaces", "models", "training")
SOURCES = sorted(path for top in TOP for path in (ROOT / top).rglob("*.py"))
MAX_LINES, MAX_MODULES, MAX_FUNCTION = 400, 15, 60
LONG = re.compile(r"init_\w+_wf|\w*parser|_?add_\w+")
"""Graphs and command-line parsers may be longer: they are lists."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def imports() -> networkx.DiGraph:
    """Modules and what they import, imports inside functions included."""
    packages = grimp.build_graph(*(f"brainseg.{top}" for top in TOP), cache_dir=None)
    graph = networkx.DiGraph()
    for module in packages.modules:
        graph.add_edges_from((module, other) for other in packages.find_modules_directly_imported_by(module))
    return graph


def _cycles(graph: networkx.DiGraph) -> list[list[str]]:
    return [sorted(found) for found in networkx.strongly_connected_components(graph) if len(found) > 1]


def test_modules_import_without_cycles(imports):
    assert _cycles(imports) == []


def test_sub_packages_import_without_cycles(imports):
    folders = networkx.DiGraph()
    for module, other in imports.edges:
        ours, theirs = (".".join(name.split(".")[:3]) for name in (module, other))
        if ours != theirs:
            folders.add_edge(ours, theirs)
    assert _cycles(folders) == []


def test_folders_are_small():
    count = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {_name(folder): n for folder, n in count.items() if n > MAX_MODULES} == {}


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_module_is_short_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_functions_fit_a_screen(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lines = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert {k: n for k, n in lines.items() if n > MAX_FUNCTION and not LONG.fullmatch(k)} == {}
